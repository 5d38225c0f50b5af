//! A filter in one text: `task=digest status=failed since=2h input="two words"`.

use clap::ValueEnum as _;

use super::moment::moment;
use super::{Filter, Status, reason, tag};
use crate::text::escaped;
use crate::words::nearest;

const NAMES: [&str; 8] = ["task", "status", "reason", "since", "until", "input", "tag", "limit"];

impl std::str::FromStr for Filter {
    type Err = String;

    /// Reads parts `name=value`, parted by spaces; a value with spaces is put in quotes, single or double.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut filter = Self::default();
        for part in parts(text)? {
            let Some((name, value)) = part.split_once('=') else {
                return Err(format!("`{}` is no filter: one is written name=value", escaped(&part)));
            };
            filter.set(name, value).map_err(|why| format!("`{}`: {why}", escaped(&part)))?;
        }
        Ok(filter)
    }
}

impl Filter {
    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let is_new = match name {
            "task" => self.task.replace(value.to_owned()).is_none(),
            "status" => {
                let status = Status::from_str(value, false).map_err(|_| {
                    let all = Status::value_variants().iter().filter_map(|status| status.to_possible_value());
                    let names: Vec<String> = all.map(|value| value.get_name().to_owned()).collect();
                    format!("a status is one of {}", names.join(", "))
                })?;
                self.status.replace(status).is_none()
            }
            "reason" => self.reason.replace(reason(value)?).is_none(),
            "since" => self.since.replace(moment(value)?).is_none(),
            "until" => self.until.replace(moment(value)?).is_none(),
            "input" => self.input.replace(value.to_owned()).is_none(),
            "tag" => self.tag.replace(tag(value)?).is_none(),
            "limit" => {
                let limit = value.parse().map_err(|_| "a limit is a number of runs".to_owned())?;
                self.limit.replace(limit).is_none()
            }
            other => {
                let meant = nearest(other, NAMES.into_iter()).map(|name| format!(" (did you mean {name}?)"));
                let meant = meant.unwrap_or_default();
                return Err(format!("there is no such filter{meant}; there are {}", NAMES.join(", ")));
            }
        };
        if is_new { Ok(()) } else { Err(format!("{name} is given twice")) }
    }
}

/// Parts a text at spaces outside quotes, and takes the quotes off.
fn parts(text: &str) -> Result<Vec<String>, String> {
    let (mut parts, mut part, mut quote) = (Vec::new(), String::new(), None);
    for character in text.chars() {
        match (character, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => quote = Some(character),
            (c, None) if c.is_whitespace() => parts.push(std::mem::take(&mut part)),
            (c, _) => part.push(c),
        }
    }
    if quote.is_some() {
        return Err(format!("`{}`: the closing quote is missing", escaped(text)));
    }
    parts.push(part);
    parts.retain(|part| !part.is_empty());
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        text.parse::<Filter>().unwrap_err()
    }

    #[test]
    fn a_filter_is_read_from_one_text() {
        let filter: Filter =
            r#" task=digest  status=failed since=2h input="two words" tag=a=b limit=3"#.parse().unwrap();
        assert_eq!((filter.task.as_deref(), filter.status), (Some("digest"), Some(Status::Failed)));
        assert_eq!(filter.input.as_deref(), Some("two words"));
        assert_eq!(filter.tag, Some(("a".to_owned(), "b".to_owned())));
        assert!(filter.since.is_some() && filter.until.is_none() && filter.limit == Some(3));
        let filter: Filter = r#"input='"url":"it is"'"#.parse().unwrap();
        assert_eq!(filter.input.as_deref(), Some(r#""url":"it is""#));
        assert!("".parse::<Filter>().unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(refused("task=a digest"), "`digest` is no filter: one is written name=value");
        assert!(
            refused("statsu=failed").starts_with("`statsu=failed`: there is no such filter (did you mean status?)")
        );
        assert!(refused("status=done").contains("`status=done`: a status is one of unfinished, completed, failed"));
        assert!(refused("task=a since=yesterday").starts_with("`since=yesterday`: how long ago (`2h`"));
        assert_eq!(refused("task=a task=b"), "`task=b`: task is given twice");
        assert_eq!(refused("tag=a"), "`tag=a`: a tag is written NAME=VALUE");
        assert_eq!(refused("limit=-1"), "`limit=-1`: a limit is a number of runs");
        assert_eq!(refused("input=\"a"), "`input=\"a`: the closing quote is missing");
    }
}
