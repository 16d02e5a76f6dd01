//! Templates that make the text of a document from the fields of a record.

use std::borrow::Cow;

use crate::error::{Error, Result};

/// Field that is the text of a record where no template is given.
pub(super) const DEFAULT_FIELD: &str = "text";

/// Text with fields in it, line by line.
#[derive(Debug)]
pub(super) struct Template {
    lines: Vec<Vec<Part>>,
}

#[derive(Debug, PartialEq)]
enum Part {
    Text(String),
    Field(String),
}

impl Template {
    /// Parses the name of a field, or text with `{field}` in it; `{{` and `}}` are braces.
    pub(super) fn parse(text: &str) -> Result<Template> {
        if !text.contains(['{', '}', '\n']) && !text.trim().is_empty() {
            let field = Part::Field(text.to_owned());
            return Ok(Template {
                lines: vec![vec![field]],
            });
        }
        let lines: Result<Vec<_>> = text.split('\n').map(parse_line).collect();
        let template = Template { lines: lines? };
        if template.fields().next().is_none() {
            return Err(Error::Argument(format!(
                "the template {text:?} names no field; write them in braces, as in \
                 {{instruction}}\\n{{output}}"
            )));
        }
        Ok(template)
    }

    /// The template where none is given.
    pub(super) fn default_field() -> Template {
        Template {
            lines: vec![vec![Part::Field(DEFAULT_FIELD.to_owned())]],
        }
    }

    /// Some fields, whatever their text.
    pub(super) fn of_fields(names: &[&str]) -> Template {
        let field = |name: &&str| Part::Field((*name).to_owned());
        Template {
            lines: vec![names.iter().map(field).collect()],
        }
    }

    /// The field that alone is the text; lists of ids and of turns can only stand there.
    pub(super) fn only_field(&self) -> Option<&str> {
        match self.lines.as_slice() {
            [line] => match line.as_slice() {
                [Part::Field(name)] => Some(name),
                _ => None,
            },
            _ => None,
        }
    }

    /// The names of its fields, repeated as in the text.
    pub(super) fn fields(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().flatten().filter_map(|part| match part {
            Part::Field(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// Fills the fields in. A line whose fields are all empty is omitted with its line break.
    pub(super) fn render<'a>(
        &self,
        value: impl Fn(&str) -> Result<Cow<'a, str>, String>,
    ) -> Result<String, String> {
        let mut text = String::new();
        let mut first = true;
        for line in &self.lines {
            let mut filled = String::new();
            let (mut fields, mut empty) = (0, 0);
            for part in line {
                match part {
                    Part::Text(literal) => filled.push_str(literal),
                    Part::Field(name) => {
                        let value = value(name)?;
                        fields += 1;
                        empty += usize::from(value.is_empty());
                        filled.push_str(&value);
                    }
                }
            }
            if fields > 0 && fields == empty {
                continue;
            }
            if !first {
                text.push('\n');
            }
            first = false;
            text.push_str(&filled);
        }
        Ok(text)
    }
}

fn parse_line(line: &str) -> Result<Vec<Part>> {
    let broken = |what: &str| Error::Argument(format!("the template line {line:?} has {what}"));
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '{' | '}' if chars.peek() == Some(&c) => {
                chars.next();
                literal.push(c);
            }
            '{' => {
                let mut name = String::new();
                loop {
                    match chars.next() {
                        Some('}') => break,
                        Some(c) if c != '{' => name.push(c),
                        _ => return Err(broken("a `{` that no `}` closes")),
                    }
                }
                if name.trim().is_empty() {
                    return Err(broken("a field without a name"));
                }
                if !literal.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut literal)));
                }
                parts.push(Part::Field(name));
            }
            '}' => return Err(broken("a `}` that no `{` opens")),
            c => literal.push(c),
        }
    }
    if !literal.is_empty() || parts.is_empty() {
        parts.push(Part::Text(literal));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(template: &str, fields: &[(&str, &str)]) -> String {
        let value = |name: &str| {
            let found = fields.iter().find(|(known, _)| *known == name);
            Ok(Cow::Owned(found.unwrap().1.to_owned()))
        };
        Template::parse(template).unwrap().render(value).unwrap()
    }

    #[test]
    fn a_bare_name_is_a_field() {
        assert_eq!(render("text", &[("text", "a {b}")]), "a {b}");
    }

    #[test]
    fn a_line_whose_fields_are_empty_is_omitted() {
        let template = "{instruction}\n{input}\n{output}";
        let all = [("instruction", "i"), ("input", "n"), ("output", "o")];
        assert_eq!(render(template, &all), "i\nn\no");
        let some = [("instruction", "i"), ("input", ""), ("output", "o")];
        assert_eq!(render(template, &some), "i\no");
        let last = [("instruction", ""), ("input", ""), ("output", "o")];
        assert_eq!(render(template, &last), "o");
        assert_eq!(
            render("Q: {a}\n\nA: {b}", &[("a", ""), ("b", "x")]),
            "\nA: x"
        );
    }

    #[test]
    fn doubled_braces_are_braces() {
        assert_eq!(render("{{{a}}}", &[("a", "x")]), "{x}");
    }

    #[test]
    fn a_broken_template_is_refused() {
        for text in ["{a", "a}", "{}", "{a{b}}", "no field\n", "", " "] {
            assert!(Template::parse(text).is_err(), "{text:?}");
        }
    }
}
