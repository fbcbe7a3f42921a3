//! Functions of arrays and objects. Items that are null count for nothing in sums, averages, least and greatest.

use std::collections::HashSet;

use holdfast_core::collation::{Case, compare, encode};
use serde_json::{Map, Value};

use super::super::datum::{Datum, size_of_value};
use super::super::decimal::OutOfRange;
use super::super::evaluate::{Evaluated, out_of_range};
use super::super::sum::Sum;
use super::Call;
use crate::language::function::Function;

impl<'a> Call<'_, 'a> {
    pub(super) fn of_array(&self) -> Evaluated<Option<Datum<'a>>> {
        let answer = match self.function {
            Function::Length => self.size()?,
            Function::Reverse => match self.value(0).as_str() {
                Some(text) => self.made(text.chars().rev().collect())?,
                None => self.made_array(self.array(0)?.iter().rev().cloned().collect())?,
            },
            Function::ArrayCount => Datum::count(self.array(0)?.iter().filter(|item| !item.is_null()).count()),
            Function::ArraySum => {
                let sum = self.summed()?.0;
                self.computed(sum.total())?
            }
            Function::ArrayAverage => self.average()?,
            Function::ArrayLeast => self.picked(self.known(0)?.min_by(|left, right| compare(left, right)))?,
            Function::ArrayGreatest => self.picked(self.known(0)?.max_by(|left, right| compare(left, right)))?,
            Function::First => self.picked(self.array(0)?.first())?,
            Function::Last => self.picked(self.array(0)?.last())?,
            Function::Distinct => self.chosen(self.array(0)?, &[], true)?,
            Function::Sort => {
                let mut items = self.array(0)?.to_vec();
                items.sort_by(compare);
                self.made_array(items)?
            }
            Function::Slice => self.slice()?,
            Function::Union => {
                let both: Vec<Value> = self.array(0)?.iter().chain(self.array(1)?).cloned().collect();
                self.chosen(&both, &[], true)?
            }
            Function::Except => self.chosen(self.array(0)?, self.array(1)?, true)?,
            Function::Keys => {
                self.made_array(self.object(0)?.keys().map(|name| Value::from(name.as_str())).collect())?
            }
            Function::Values => self.made_array(self.object(0)?.values().cloned().collect())?,
            Function::Extend => self.extended()?,
            _ => return Ok(None),
        };
        Ok(Some(answer))
    }

    fn object(&self, place: usize) -> Evaluated<&Map<String, Value>> {
        let object = self.value(place).value().and_then(Value::as_object);
        object.ok_or_else(|| self.wrong(place, "an object", None))
    }

    fn size(&self) -> Evaluated<Datum<'a>> {
        let size = match self.value(0).value() {
            Some(Value::String(text)) => text.chars().count(),
            Some(Value::Array(items)) => items.len(),
            Some(Value::Object(fields)) => fields.len(),
            _ => return Err(self.wrong(0, "text, an array or an object", Some("Write STRING(x)."))),
        };
        Ok(Datum::count(size))
    }

    /// The items that are not null.
    fn known(&self, place: usize) -> Evaluated<impl Iterator<Item = &Value>> {
        Ok(self.array(place)?.iter().filter(|item| !item.is_null()))
    }

    fn picked(&self, item: Option<&Value>) -> Evaluated<Datum<'a>> {
        let Some(item) = item else {
            return Ok(Datum::NULL);
        };
        self.evaluation.charge(size_of_value(item), self.position)?;
        Ok(Datum::Owned(item.clone()))
    }

    /// The sum of the items that are numbers, and how many these are. Other kinds are passed over, as in sums of rows.
    fn summed(&self) -> Evaluated<(Sum, u64)> {
        let mut sum = Sum::default();
        let mut count = 0_u64;
        for number in self.array(0)?.iter().filter_map(Value::as_number) {
            count = count.saturating_add(u64::from(sum.add_text(number.as_str())));
        }
        Ok((sum, count))
    }

    fn average(&self) -> Evaluated<Datum<'a>> {
        let (sum, count) = self.summed()?;
        match sum.average(count).map_err(|OutOfRange| out_of_range(self.position))? {
            Some(average) => Ok(Datum::Number(average)),
            None => Ok(Datum::NULL),
        }
    }

    /// The items, each once if so asked, without those that others have.
    fn chosen(&self, items: &[Value], others: &[Value], once: bool) -> Evaluated<Datum<'a>> {
        let key = |item: &Value| {
            let mut key = Vec::new();
            encode(item, Case::Exact, &mut key);
            key
        };
        let size = items.iter().chain(others).map(size_of_value).sum();
        self.evaluation.charge(size, self.position)?;
        let mut seen: HashSet<Vec<u8>> = others.iter().map(key).collect();
        let mut chosen = Vec::new();
        for item in items {
            let key = key(item);
            if !seen.contains(&key) {
                chosen.push(item.clone());
                if once {
                    seen.insert(key);
                }
            }
        }
        Ok(Datum::Owned(Value::Array(chosen)))
    }

    fn slice(&self) -> Evaluated<Datum<'a>> {
        let items = self.array(0)?;
        let from = usize::try_from(self.whole(1)?.max(0)).unwrap_or(usize::MAX);
        let length =
            if self.has(3) { usize::try_from(self.whole(2)?.max(0)).unwrap_or(usize::MAX) } else { usize::MAX };
        self.made_array(items.iter().skip(from).take(length).cloned().collect())
    }

    fn extended(&self) -> Evaluated<Datum<'a>> {
        let mut all = Map::new();
        for place in 0..self.values.len() {
            let object = self.object(place)?;
            self.evaluation.charge(object.values().map(size_of_value).sum(), self.position)?;
            all.extend(object.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
        Ok(Datum::Owned(Value::Object(all)))
    }
}
