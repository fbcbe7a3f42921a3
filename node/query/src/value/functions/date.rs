//! Functions of dates, which are text as ISO 8601 writes it.

use holdfast_core::time::Millis;

use super::super::datum::Datum;
use super::super::evaluate::Evaluated;
use super::super::moment::Moment;
use super::Call;
use crate::language::error::QueryError;
use crate::language::function::Function;

impl<'a> Call<'_, 'a> {
    pub(super) fn of_date(&self) -> Evaluated<Option<Datum<'a>>> {
        let answer = match self.function {
            Function::Now => Datum::text(self.evaluation.compute.now.to_utc_text()),
            Function::Today => Datum::text(of_millis(self.evaluation.compute.now).day().to_text()),
            Function::Year => Datum::whole(self.moment(0)?.civil().year),
            Function::Month => Datum::whole(self.moment(0)?.civil().month),
            Function::Day => Datum::whole(self.moment(0)?.civil().day),
            Function::Hour => Datum::whole(self.moment(0)?.civil().hour),
            Function::Minute => Datum::whole(self.moment(0)?.civil().minute),
            Function::Second => Datum::whole(self.moment(0)?.civil().second),
            Function::Millisecond => Datum::whole(self.moment(0)?.civil().millisecond),
            Function::Weekday => Datum::whole(self.moment(0)?.weekday()),
            Function::DateTruncate => Datum::text(self.moment(1)?.truncated(self.unit(0)?).to_text()),
            Function::DateAdd => {
                let later = self.moment(2)?.plus(self.whole(1)?, self.unit(0)?);
                Datum::text(later.ok_or_else(|| self.no_such_date())?.to_text())
            }
            Function::DateDifference => Datum::whole(self.moment(1)?.until(self.moment(2)?, self.unit(0)?)),
            Function::Date => Datum::text(self.moment(0)?.day().to_text()),
            Function::DateTime => Datum::text(Moment { is_day: false, ..self.moment(0)? }.to_text()),
            _ => return Ok(None),
        };
        Ok(Some(answer))
    }

    fn no_such_date(&self) -> QueryError {
        QueryError::meaning("date-out-of-range", "The date lies outside of the years 0 to 9999.", self.position)
    }
}

fn of_millis(now: Millis) -> Moment {
    Moment { millis: i64::try_from(now.0).unwrap_or(i64::MAX), is_day: false }
}
