//! Filters of lists and maps.

use std::cmp::Ordering;
use std::sync::Arc;

use super::fault::{Fault, fault};
use super::interpreter::{Args, Interpreter};
use super::operators::{equals, hashable, operate, order};
use super::print::text_of;
use super::syntax::Operator;
use super::value::{Value, View};

/// The attributes that a filter looks at, and what stands in for a missing one.
struct Getter {
    /// Parts of each attribute, between the points.
    paths: Vec<Vec<Value>>,
    default: Option<Value>,
    /// True if large and small letters are the same.
    ignores_case: bool,
}

impl Interpreter {
    pub(super) fn list_filter(
        &self,
        name: &Arc<str>,
        value: &Value,
        args: Args,
    ) -> Result<Value, Fault> {
        match &**name {
            "first" => {
                let [] = args.take(name, [])?;
                self.first(value)
            }
            "last" => {
                let [] = args.take(name, [])?;
                if matches!(value, Value::Stream(_)) {
                    return Err(fault("'generator' object is not reversible"));
                }
                let last = self.iterate(value)?.pop();
                Ok(last.unwrap_or_else(|| Value::undefined("No last item, sequence was empty.")))
            }
            "list" => {
                let [] = args.take(name, [])?;
                Value::list(self.iterate(value)?)
            }
            "reverse" => {
                let [] = args.take(name, [])?;
                self.reversed(value)
            }
            "join" => self.join_filter(value, args),
            "sum" => self.sum(value, args),
            "min" | "max" => self.extreme(value, name, args),
            "sort" => self.sort(value, args),
            "unique" => self.unique(value, args),
            "groupby" => self.group_by(value, args),
            "dictsort" => self.dict_sort(value, args),
            "items" => {
                let [] = args.take(name, [])?;
                self.items(value)
            }
            "batch" | "slice" => self.chunks(value, name, args),
            "map" => self.map(value, args),
            _ => self.select(value, name, args),
        }
    }

    fn sum(&self, value: &Value, args: Args) -> Result<Value, Fault> {
        let [attribute, start] = args.take("sum", ["attribute", "start"])?;
        let getter = attribute
            .map(|attribute| self.getter(&attribute))
            .transpose()?;
        let mut sum = start.unwrap_or(Value::Int(0));
        for item in self.iterate(value)? {
            let item = match &getter {
                Some(getter) => self.get(getter, &item)?,
                None => item,
            };
            sum = operate(&self.limits, Operator::Add, &sum, &item)?;
        }
        Ok(sum)
    }

    fn sort(&self, value: &Value, args: Args) -> Result<Value, Fault> {
        let names = ["reverse", "case_sensitive", "attribute"];
        let [reverse, case, attribute] = args.take("sort", names)?;
        let getter = self.keyed_by(case, attribute)?;
        let items = self.iterate(value)?;
        let sorted = self.sorted(items, &getter, is(reverse))?;
        Value::list(sorted.into_iter().map(|(_, item)| item).collect())
    }

    fn items(&self, value: &Value) -> Result<Value, Fault> {
        match value {
            Value::Undefined(_) => Value::stream(Vec::new()),
            Value::Dict(dict) => {
                let items = self.iterate(&Value::View(View::Items, dict.clone()))?;
                Value::stream(items.into_iter().map(Ok).collect())
            }
            _ => Err(fault("Can only get item pairs from a mapping.")),
        }
    }

    fn first(&self, value: &Value) -> Result<Value, Fault> {
        let first = match value {
            Value::Stream(stream) => stream.items.borrow_mut().pop_front().transpose()?,
            other => self.iterate(other)?.into_iter().next(),
        };
        Ok(first.unwrap_or_else(|| Value::undefined("No first item, sequence was empty.")))
    }

    fn reversed(&self, value: &Value) -> Result<Value, Fault> {
        if let Value::Str(text) = value {
            self.limits.charge(text.len())?;
            return Ok(Value::text(text.chars().rev().collect::<String>()));
        }
        let mut items = self.iterate(value)?;
        items.reverse();
        match value {
            Value::Stream(_) => Value::list(items),
            _ => Value::stream(items.into_iter().map(Ok).collect()),
        }
    }

    fn join_filter(&self, value: &Value, args: Args) -> Result<Value, Fault> {
        let [separator, attribute] = args.take("join", ["d", "attribute"])?;
        let separator = text_of(&self.limits, &separator.unwrap_or_else(|| Value::text("")))?;
        let attribute = attribute.filter(|attribute| !matches!(attribute, Value::None));
        let getter = attribute
            .map(|attribute| self.getter(&attribute))
            .transpose()?;
        let mut out = String::new();
        for (at, item) in self.iterate(value)?.iter().enumerate() {
            let text = match &getter {
                Some(getter) => text_of(&self.limits, &self.get(getter, item)?)?,
                None => text_of(&self.limits, item)?,
            };
            let separator = if at > 0 { &*separator } else { "" };
            self.limits.charge(separator.len() + text.len())?;
            out.push_str(separator);
            out.push_str(&text);
        }
        Ok(Value::text(out))
    }

    /// One attribute, with points between its parts.
    fn path(&self, attribute: &Value) -> Result<Vec<Value>, Fault> {
        if attribute.as_int().is_some() {
            return Ok(vec![attribute.clone()]);
        }
        let text = text_of(&self.limits, attribute)?;
        let part = |part: &str| match part.parse::<u32>() {
            Ok(index) => Value::Int(index.into()),
            Err(_) => Value::text(part),
        };
        Ok(text.split('.').map(part).collect())
    }

    fn getter(&self, attribute: &Value) -> Result<Getter, Fault> {
        Ok(Getter {
            paths: vec![self.path(attribute)?],
            default: None,
            ignores_case: false,
        })
    }

    /// The key that a filter sorts by.
    fn keyed_by(&self, case: Option<Value>, attribute: Option<Value>) -> Result<Getter, Fault> {
        let paths = match attribute {
            None | Some(Value::None) => Vec::new(),
            Some(Value::Str(all)) => {
                let each = all.split(',').map(|one| self.path(&Value::text(one)));
                each.collect::<Result<_, _>>()?
            }
            Some(one) => vec![self.path(&one)?],
        };
        Ok(Getter {
            paths,
            default: None,
            ignores_case: !is(case),
        })
    }

    fn get(&self, getter: &Getter, item: &Value) -> Result<Value, Fault> {
        let fold = |value: Value| match value {
            Value::Str(text) if getter.ignores_case => {
                self.limits.charge(text.len())?;
                Ok(Value::text(text.to_lowercase()))
            }
            other => Ok(other),
        };
        let one = |path: &Vec<Value>| {
            let mut value = item.clone();
            for part in path {
                self.limits.step(1)?;
                value = self.item(&value, part)?;
                if let (Value::Undefined(_), Some(default)) = (&value, &getter.default) {
                    value = default.clone();
                }
            }
            fold(value)
        };
        match &getter.paths[..] {
            [] => fold(item.clone()),
            [path] => one(path),
            all => Value::tuple(all.iter().map(one).collect::<Result<_, _>>()?),
        }
    }

    fn sorted(
        &self,
        items: Vec<Value>,
        getter: &Getter,
        reverse: bool,
    ) -> Result<Vec<(Value, Value)>, Fault> {
        let mut keyed = Vec::new();
        for item in items {
            keyed.push((self.get(getter, &item)?, item));
        }
        self.limits.elements(2 * keyed.len())?;
        let mut failed = None;
        let mut ordering = |a: &Value, b: &Value| {
            if failed.is_some() {
                return Ordering::Equal;
            }
            order(&self.limits, "<", a, b)
                .unwrap_or_else(|fault| {
                    failed = Some(fault);
                    None
                })
                .unwrap_or(Ordering::Equal)
        };
        if reverse {
            keyed.sort_by(|(a, _), (b, _)| ordering(b, a));
        } else {
            keyed.sort_by(|(a, _), (b, _)| ordering(a, b));
        }
        failed.map_or(Ok(keyed), Err)
    }

    fn extreme(&self, value: &Value, name: &str, args: Args) -> Result<Value, Fault> {
        let [case, attribute] = args.take(name, ["case_sensitive", "attribute"])?;
        let getter = self.keyed_by(case, attribute)?;
        let mut best: Option<(Value, Value)> = None;
        for item in self.iterate(value)? {
            let key = self.get(&getter, &item)?;
            let better = match &best {
                None => true,
                Some((than, _)) => {
                    let order = order(&self.limits, "<", &key, than)?;
                    order
                        == Some(if name == "min" {
                            Ordering::Less
                        } else {
                            Ordering::Greater
                        })
                }
            };
            if better {
                best = Some((key, item));
            }
        }
        let missing = || Value::undefined("No aggregated item, sequence was empty.");
        Ok(best.map_or_else(missing, |(_, item)| item))
    }

    fn unique(&self, value: &Value, args: Args) -> Result<Value, Fault> {
        let [case, attribute] = args.take("unique", ["case_sensitive", "attribute"])?;
        let getter = self.keyed_by(case, attribute)?;
        let mut seen: Vec<Value> = Vec::new();
        let mut kept = Vec::new();
        'items: for item in self.iterate(value)? {
            let key = self.get(&getter, &item)?;
            if let Err(fault) = hashable(&key) {
                kept.push(Err(fault));
                break;
            }
            for other in &seen {
                if equals(&self.limits, other, &key)? {
                    continue 'items;
                }
            }
            seen.push(key);
            kept.push(Ok(item));
        }
        self.limits.elements(2 * kept.len())?;
        Value::stream(kept)
    }

    fn group_by(&self, value: &Value, args: Args) -> Result<Value, Fault> {
        let names = ["attribute", "default", "case_sensitive"];
        let [attribute, default, case] = args.take("groupby", names)?;
        let attribute = attribute.ok_or_else(|| fault("groupby: the attribute is missing"))?;
        let default = default.filter(|default| !matches!(default, Value::None));
        let own = Getter {
            default,
            ..self.getter(&attribute)?
        };
        let getter = Getter {
            paths: vec![self.path(&attribute)?],
            default: own.default.clone(),
            ignores_case: !is(case),
        };
        let items = self.iterate(value)?;
        let mut all = Vec::new();
        for (key, item) in self.sorted(items, &getter, false)? {
            let own = self.get(&own, &item)?;
            all.push((key, own, item));
        }
        self.groups(all)
    }

    fn dict_sort(&self, value: &Value, args: Args) -> Result<Value, Fault> {
        let [case, by, reverse] = args.take("dictsort", ["case_sensitive", "by", "reverse"])?;
        let place = match by.as_ref().map(|by| by.as_str()) {
            None | Some(Some("key")) => 0,
            Some(Some("value")) => 1,
            _ => return Err(fault("You can only sort by either \"key\" or \"value\"")),
        };
        value.defined()?;
        let Value::Dict(dict) = value else {
            return Err(fault(format!(
                "'{}' object has no attribute 'items'",
                value.kind()
            )));
        };
        let items = self.iterate(&Value::View(View::Items, dict.clone()))?;
        let getter = Getter {
            paths: vec![vec![Value::Int(place)]],
            default: None,
            ignores_case: !is(case),
        };
        let sorted = self.sorted(items, &getter, is(reverse))?;
        Value::list(sorted.into_iter().map(|(_, item)| item).collect())
    }

    /// Lists of some elements each (`batch`), or some lists of about the same length (`slice`).
    fn chunks(&self, value: &Value, name: &str, args: Args) -> Result<Value, Fault> {
        let names = [
            if name == "batch" {
                "linecount"
            } else {
                "slices"
            },
            "fill_with",
        ];
        let [count, fill] = args.take(name, names)?;
        let count = count.and_then(|count| count.as_int());
        let count = count.filter(|count| (1..=1 << 20).contains(count));
        let count = count.ok_or_else(|| fault(format!("{name}: the count is no number")))? as usize;
        let fill = fill.filter(|fill| !matches!(fill, Value::None));
        let items = self.iterate(value)?;
        let mut lists = Vec::new();
        if name == "batch" {
            for chunk in items.chunks(count) {
                let mut chunk = chunk.to_vec();
                if let Some(fill) = &fill {
                    self.limits.elements(count)?;
                    chunk.resize(count, fill.clone());
                }
                self.limits.elements(1)?;
                lists.push(Value::list(chunk));
            }
            return Value::stream(lists);
        }
        self.limits.elements(2 * count)?;
        let (each, longer) = (items.len() / count, items.len() % count);
        let mut rest = items.into_iter();
        for at in 0..count {
            let size = each + usize::from(at < longer);
            let mut list: Vec<Value> = rest.by_ref().take(size).collect();
            if at >= longer {
                list.extend(fill.clone());
            }
            lists.push(Value::list(list));
        }
        Value::stream(lists)
    }

    fn map(&self, value: &Value, mut args: Args) -> Result<Value, Fault> {
        // Jinja looks into the value only if it is true: `none` passes as an empty list.
        let items = if value.is_true() {
            self.iterate(value)?
        } else {
            Vec::new()
        };
        let mut out = Vec::new();
        if args.positional.is_empty() && !args.named.is_empty() {
            let [attribute, default] = args.take("map", ["attribute", "default"])?;
            let attribute = attribute.ok_or_else(|| fault("map: the attribute is missing"))?;
            let default = default.filter(|default| !matches!(default, Value::None));
            let getter = Getter {
                default,
                ..self.getter(&attribute)?
            };
            for item in items {
                out.push(self.get(&getter, &item));
                if out.last().is_some_and(Result::is_err) {
                    break;
                }
            }
            return Value::stream(out);
        }
        if args.positional.is_empty() {
            return Err(fault("map requires a filter argument"));
        }
        let filter = text_of(&self.limits, &args.positional.remove(0))?;
        for item in items {
            let args = Args {
                positional: args.positional.clone(),
                named: args.named.clone(),
            };
            out.push(self.filter(&filter, item, args));
            if out.last().is_some_and(Result::is_err) {
                break;
            }
        }
        Value::stream(out)
    }

    /// The elements that pass a test, or do not, by themselves or by an attribute.
    fn select(&self, value: &Value, name: &str, mut args: Args) -> Result<Value, Fault> {
        let wanted = name.starts_with("select");
        let getter = if name.ends_with("attr") {
            if args.positional.is_empty() {
                return Err(fault("Missing parameter for attribute name"));
            }
            Some(self.getter(&args.positional.remove(0))?)
        } else {
            None
        };
        let test = if args.positional.is_empty() {
            None
        } else {
            Some(text_of(&self.limits, &args.positional.remove(0))?)
        };
        let items = if value.is_true() {
            self.iterate(value)?
        } else {
            Vec::new()
        };
        let mut out = Vec::new();
        for item in items {
            let passes = || {
                let looked = match &getter {
                    Some(getter) => self.get(getter, &item)?,
                    None => item.clone(),
                };
                let Some(test) = &test else {
                    return Ok(looked.is_true());
                };
                let args = Args {
                    positional: args.positional.clone(),
                    named: args.named.clone(),
                };
                self.test(test, &looked, args)
            };
            match passes() {
                Ok(passes) if passes == wanted => out.push(Ok(item)),
                Ok(_) => {}
                Err(fault) => {
                    out.push(Err(fault));
                    break;
                }
            }
        }
        Value::stream(out)
    }
}

fn is(flag: Option<Value>) -> bool {
    flag.is_some_and(|flag| flag.is_true())
}
