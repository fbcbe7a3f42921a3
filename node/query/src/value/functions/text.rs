//! Functions of text. Characters are code points, counted from 1 as SQL does, but for `INDEXOF`.

use serde_json::Value;

use super::super::datum::Datum;
use super::super::evaluate::{Evaluated, compared, scalar_text};
use super::super::moment::Moment;
use super::Call;
use crate::language::function::Function;

impl<'a> Call<'_, 'a> {
    pub(super) fn of_text(&self) -> Evaluated<Option<Datum<'a>>> {
        let answer = match self.function {
            Function::Upper => self.made(self.text(0)?.to_uppercase())?,
            Function::Lower => self.made(self.text(0)?.to_lowercase())?,
            Function::Trim | Function::LeftTrim | Function::RightTrim => self.trimmed()?,
            Function::LeftPad | Function::RightPad => self.padded()?,
            Function::Substring => self.substring()?,
            Function::Left => self.made(self.text(0)?.chars().take(self.length(1)?).collect())?,
            Function::Right => {
                let text = self.text(0)?;
                let skipped = text.chars().count().saturating_sub(self.length(1)?);
                self.made(text.chars().skip(skipped).collect())?
            }
            Function::Replace => self.replaced()?,
            Function::Repeat => {
                let (text, times) = (self.text(0)?, self.length(1)?);
                self.evaluation.charge(text.len().saturating_mul(times), self.position)?;
                Datum::text(text.repeat(times))
            }
            Function::StartsWith => Datum::truth(Some(self.text(0)?.starts_with(self.text(1)?))),
            Function::EndsWith => Datum::truth(Some(self.text(0)?.ends_with(self.text(1)?))),
            Function::Contains => self.contains()?,
            Function::IndexOf => self.index_of()?,
            Function::Position => {
                let text = self.text(0)?;
                let place = text.find(self.text(1)?).and_then(|at| text.get(..at)).map(|before| before.chars().count());
                Datum::count(place.map_or(0, |place| place + 1))
            }
            Function::Split => self.split()?,
            Function::Join => self.joined()?,
            Function::Format => self.formatted()?,
            _ => return Ok(None),
        };
        Ok(Some(answer))
    }

    /// A number of characters or times: what is negative is zero.
    fn length(&self, place: usize) -> Evaluated<usize> {
        Ok(usize::try_from(self.whole(place)?.max(0)).unwrap_or(usize::MAX))
    }

    fn trimmed(&self) -> Evaluated<Datum<'a>> {
        let text = self.text(0)?;
        let characters: Option<Vec<char>> = if self.has(2) { Some(self.text(1)?.chars().collect()) } else { None };
        let goes = |character: char| match &characters {
            Some(characters) => characters.contains(&character),
            None => character.is_whitespace(),
        };
        let trimmed = match self.function {
            Function::LeftTrim => text.trim_start_matches(goes),
            Function::RightTrim => text.trim_end_matches(goes),
            _ => text.trim_matches(goes),
        };
        self.made(trimmed.to_owned())
    }

    fn padded(&self) -> Evaluated<Datum<'a>> {
        let (text, length) = (self.text(0)?, self.length(1)?);
        let with = if self.has(3) { self.text(2)? } else { " " };
        let lacking = length.saturating_sub(text.chars().count());
        if lacking == 0 || with.is_empty() {
            return self.made(text.chars().take(length).collect());
        }
        self.evaluation.charge(lacking.saturating_mul(4), self.position)?;
        let pad: String = with.chars().cycle().take(lacking).collect();
        self.made(if self.function == Function::LeftPad { pad + text } else { text.to_owned() + &pad })
    }

    /// As SQLite's: a start of 0 or before the text takes so much from the length.
    fn substring(&self) -> Evaluated<Datum<'a>> {
        let (text, start) = (self.text(0)?, self.whole(1)?);
        let count = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
        let length = if self.has(3) { self.whole(2)? } else { i64::MAX };
        let first = match start {
            1.. => start - 1,
            0 => -1,
            _ => start.saturating_add(count),
        };
        // A start before the text counts, so that the end stays where it was asked for.
        let end = if length == i64::MAX { count } else { first.saturating_add(length.max(0)) };
        let first = if start == 0 && length == i64::MAX { 0 } else { first };
        let (first, end) = (first.max(0), end.max(0));
        let (skipped, taken) = (usize::try_from(first), usize::try_from(end.saturating_sub(first).max(0)));
        self.made(text.chars().skip(skipped.unwrap_or(usize::MAX)).take(taken.unwrap_or(usize::MAX)).collect())
    }

    fn replaced(&self) -> Evaluated<Datum<'a>> {
        let (text, part, with) = (self.text(0)?, self.text(1)?, self.text(2)?);
        if part.is_empty() {
            return self.made(text.to_owned());
        }
        // Counted first: a small text can become a very large one.
        let growth = with.len().saturating_sub(part.len());
        if growth > 0 {
            self.evaluation.charge(text.matches(part).count().saturating_mul(growth), self.position)?;
        }
        self.made(text.replace(part, with))
    }

    fn contains(&self) -> Evaluated<Datum<'a>> {
        if let Some(items) = self.value(0).as_array() {
            let is_there = items
                .iter()
                .any(|item| compared(&Datum::Borrowed(item), self.value(1)).is_some_and(std::cmp::Ordering::is_eq));
            return Ok(Datum::truth(Some(is_there)));
        }
        let Some(text) = self.value(0).as_str() else {
            return Err(self.wrong(0, "text or an array", None));
        };
        Ok(Datum::truth(Some(text.contains(self.text(1)?))))
    }

    fn index_of(&self) -> Evaluated<Datum<'a>> {
        let from = if self.has(3) { self.length(2)? } else { 0 };
        let place = if let Some(items) = self.value(0).as_array() {
            let is_it =
                |item: &Value| compared(&Datum::Borrowed(item), self.value(1)).is_some_and(std::cmp::Ordering::is_eq);
            items.iter().skip(from).position(is_it).map(|place| place + from)
        } else {
            let Some(text) = self.value(0).as_str() else {
                return Err(self.wrong(0, "text or an array", None));
            };
            let start = text.char_indices().nth(from).map_or(text.len(), |(at, _)| at);
            let (_, rest) = text.split_at_checked(start).unwrap_or((text, ""));
            let found = rest.find(self.text(1)?).and_then(|at| rest.get(..at));
            found.filter(|_| from <= text.chars().count()).map(|before| before.chars().count() + from)
        };
        Ok(place.map_or_else(|| Datum::whole(-1), Datum::count))
    }

    fn split(&self) -> Evaluated<Datum<'a>> {
        let (text, separator) = (self.text(0)?, self.text(1)?);
        if separator.is_empty() {
            return self.made_array(vec![Value::from(text)]);
        }
        let parts = text.matches(separator).count() + 1;
        self.evaluation.charge(parts.saturating_mul(size_of::<Value>()), self.position)?;
        self.made_array(text.split(separator).map(Value::from).collect())
    }

    fn joined(&self) -> Evaluated<Datum<'a>> {
        let items = self.array(0)?;
        let separator = if self.has(2) { self.text(1)? } else { "" };
        self.evaluation.charge(items.len().saturating_mul(separator.len()), self.position)?;
        let texts = items.iter().filter(|item| !item.is_null()).map(|item| {
            scalar_text(&Datum::Borrowed(item)).ok_or_else(|| self.wrong(0, "an array of text or numbers", None))
        });
        let texts = texts.collect::<Evaluated<Vec<String>>>()?;
        self.made(texts.join(separator))
    }

    fn formatted(&self) -> Evaluated<Datum<'a>> {
        let pattern = self.text(1)?;
        if let Some(number) = self.value(0).as_number() {
            return match super::number::formatted(number, pattern) {
                Some(text) => self.made(text),
                None => Err(self.wrong(1, "a pattern such as '0.00', '#,##0.00', 'N2' or 'F2' with a number", None)),
            };
        }
        let Some(moment) = self.value(0).as_str().and_then(Moment::parse) else {
            return Err(self.wrong(0, "a date or a number", None));
        };
        self.made(moment.format(pattern))
    }
}
