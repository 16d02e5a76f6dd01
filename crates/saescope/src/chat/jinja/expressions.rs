//! Expressions of a template.

use super::fault::{Fault, fault, unknown};
use super::filters::{is_filter, is_test};
use super::lexer::Token;
use super::parser::Parser;
use super::syntax::{Applied, Arguments, Choice, Comparison, Const, Expr, Operator};

/// Longest chain of one operator, which is as deep a tree.
const CHAIN: usize = 400;

impl Parser {
    /// An expression, or several with commas between them, which are a tuple. The conditions of `if`
    /// and the values of `for` hold no choice of their own.
    pub(super) fn tuple(&mut self, with_choice: bool) -> Result<Expr, Fault> {
        let one = |parser: &mut Parser| {
            if with_choice {
                parser.expression()
            } else {
                parser.nested(Parser::or)
            }
        };
        let first = one(self)?;
        if !self.is_op(",") {
            return Ok(first);
        }
        let mut all = vec![first];
        while self.skip_op(",") {
            if self.ends_tuple() {
                break;
            }
            all.push(one(self)?);
        }
        Ok(Expr::Tuple(all))
    }

    fn ends_tuple(&self) -> bool {
        matches!(self.peek(), Token::PrintEnd | Token::TagEnd)
            || self.is_op(")")
            || self.is_name("recursive")
    }

    pub(super) fn expression(&mut self) -> Result<Expr, Fault> {
        self.nested(Parser::choice)
    }

    fn choice(&mut self) -> Result<Expr, Fault> {
        let unknown = self.unknown.len();
        let mut value = self.or()?;
        let mut count = 0;
        while self.skip_name("if") {
            self.chained(&mut count)?;
            let condition = self.or()?;
            let otherwise = if self.skip_name("else") {
                Some(self.nested(Parser::choice)?)
            } else {
                None
            };
            // Jinja looks for these filters only when they are reached.
            self.unknown.truncate(unknown);
            value = Expr::If(Box::new(Choice {
                condition,
                then: value,
                otherwise,
            }));
        }
        Ok(value)
    }

    fn chained(&self, count: &mut usize) -> Result<(), Fault> {
        *count += 1;
        if *count > CHAIN {
            return Err(fault(format!("it chains more than {CHAIN} operators")));
        }
        Ok(())
    }

    fn or(&mut self) -> Result<Expr, Fault> {
        let (mut left, mut count) = (self.and()?, 0);
        while self.skip_name("or") {
            self.chained(&mut count)?;
            left = Expr::Or(Box::new((left, self.and()?)));
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Expr, Fault> {
        let (mut left, mut count) = (self.not()?, 0);
        while self.skip_name("and") {
            self.chained(&mut count)?;
            left = Expr::And(Box::new((left, self.not()?)));
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Expr, Fault> {
        if self.skip_name("not") {
            return Ok(Expr::Not(Box::new(self.nested(Parser::not)?)));
        }
        self.compare()
    }

    fn compare(&mut self) -> Result<Expr, Fault> {
        let first = self.sum()?;
        let mut rest = Vec::new();
        loop {
            let comparison = match self.peek() {
                Token::Op("==") => Comparison::Eq,
                Token::Op("!=") => Comparison::Ne,
                Token::Op("<") => Comparison::Lt,
                Token::Op("<=") => Comparison::Le,
                Token::Op(">") => Comparison::Gt,
                Token::Op(">=") => Comparison::Ge,
                Token::Name(name) if &**name == "in" => Comparison::In,
                Token::Name(name) if &**name == "not" => match self.ahead(1) {
                    Token::Name(name) if &**name == "in" => {
                        self.at += 1;
                        Comparison::NotIn
                    }
                    _ => break,
                },
                _ => break,
            };
            self.at += 1;
            rest.push((comparison, self.sum()?));
        }
        Ok(if rest.is_empty() {
            first
        } else {
            Expr::Compare(Box::new(first), rest)
        })
    }

    /// Operands that operators of one precedence join, from the left.
    fn joined(
        &mut self,
        operators: &[(&str, Operator)],
        operand: fn(&mut Self) -> Result<Expr, Fault>,
    ) -> Result<Expr, Fault> {
        let (mut left, mut count) = (operand(self)?, 0);
        loop {
            let here = operators.iter().find(|(sign, _)| self.is_op(sign));
            let Some((_, operator)) = here else {
                return Ok(left);
            };
            self.at += 1;
            self.chained(&mut count)?;
            left = Expr::Binary(*operator, Box::new((left, operand(self)?)));
        }
    }

    fn sum(&mut self) -> Result<Expr, Fault> {
        const SIGNS: [(&str, Operator); 2] = [("+", Operator::Add), ("-", Operator::Sub)];
        self.joined(&SIGNS, Parser::concat)
    }

    fn concat(&mut self) -> Result<Expr, Fault> {
        let first = self.product()?;
        if !self.is_op("~") {
            return Ok(first);
        }
        let mut all = vec![first];
        while self.skip_op("~") {
            all.push(self.product()?);
        }
        Ok(Expr::Concat(all))
    }

    fn product(&mut self) -> Result<Expr, Fault> {
        const SIGNS: [(&str, Operator); 4] = [
            ("*", Operator::Mul),
            ("/", Operator::Div),
            ("//", Operator::FloorDiv),
            ("%", Operator::Mod),
        ];
        self.joined(&SIGNS, Parser::power)
    }

    fn power(&mut self) -> Result<Expr, Fault> {
        self.joined(&[("**", Operator::Pow)], |parser| parser.unary(true))
    }

    fn unary(&mut self, with_filters: bool) -> Result<Expr, Fault> {
        let value = if self.skip_op("-") {
            Expr::Neg(Box::new(self.nested(|parser| parser.unary(false))?))
        } else if self.skip_op("+") {
            Expr::Pos(Box::new(self.nested(|parser| parser.unary(false))?))
        } else {
            self.primary()?
        };
        let value = self.postfix(value)?;
        if with_filters {
            self.filters(value)
        } else {
            Ok(value)
        }
    }

    fn primary(&mut self) -> Result<Expr, Fault> {
        match self.next() {
            Token::Name(name) => Ok(match &*name {
                "true" | "True" => Expr::Const(Const::Bool(true)),
                "false" | "False" => Expr::Const(Const::Bool(false)),
                "none" | "None" => Expr::Const(Const::None),
                _ => {
                    let known = ["loop", "caller", "varargs", "kwargs"];
                    self.names
                        .extend(known.iter().find(|known| ***known == *name));
                    Expr::Name(name)
                }
            }),
            Token::Str(mut text) => {
                while let Token::Str(more) = self.peek() {
                    text += more;
                    self.at += 1;
                }
                Ok(Expr::Const(Const::Str(text.into())))
            }
            Token::Int(value) => Ok(Expr::Const(Const::Int(value))),
            Token::Float(value) => Ok(Expr::Const(Const::Float(value))),
            Token::Op("(") => self.nested(Parser::parenthesised),
            Token::Op("[") => {
                let items = self.nested(|parser| parser.items("]"))?;
                Ok(Expr::List(items))
            }
            Token::Op("{") => self.nested(Parser::dict),
            _ => {
                self.at -= 1;
                Err(self.unexpected("an expression"))
            }
        }
    }

    fn parenthesised(&mut self) -> Result<Expr, Fault> {
        if self.skip_op(")") {
            return Ok(Expr::Tuple(Vec::new()));
        }
        let first = self.expression()?;
        if self.skip_op(")") {
            return Ok(first);
        }
        self.expect_op(",")?;
        let mut all = vec![first];
        all.extend(self.items(")")?);
        Ok(Expr::Tuple(all))
    }

    /// Expressions up to a bracket.
    fn items(&mut self, end: &str) -> Result<Vec<Expr>, Fault> {
        let mut items = Vec::new();
        while !self.skip_op(end) {
            items.push(self.expression()?);
            if !self.is_op(end) {
                self.expect_op(",")?;
            }
        }
        Ok(items)
    }

    fn dict(&mut self) -> Result<Expr, Fault> {
        let mut entries = Vec::new();
        while !self.skip_op("}") {
            let key = self.expression()?;
            self.expect_op(":")?;
            entries.push((key, self.expression()?));
            if !self.is_op("}") {
                self.expect_op(",")?;
            }
        }
        Ok(Expr::Dict(entries))
    }

    fn postfix(&mut self, mut value: Expr) -> Result<Expr, Fault> {
        let mut count = 0;
        loop {
            self.chained(&mut count)?;
            if self.skip_op(".") {
                value = match self.next() {
                    Token::Name(name) => Expr::Attr(Box::new(value), name),
                    Token::Int(index) => {
                        Expr::Item(Box::new(value), Box::new(Expr::Const(Const::Int(index))))
                    }
                    _ => {
                        self.at -= 1;
                        return Err(self.unexpected("a name or a number"));
                    }
                };
            } else if self.skip_op("[") {
                value = self.nested(|parser| parser.subscript(value))?;
            } else if self.is_op("(") {
                let arguments = self.nested(Parser::arguments)?;
                value = Expr::Call(Box::new(value), Box::new(arguments));
            } else {
                return Ok(value);
            }
        }
    }

    fn subscript(&mut self, value: Expr) -> Result<Expr, Fault> {
        let mut parts: [Option<Expr>; 3] = [None, None, None];
        let mut at = 0;
        while !self.is_op("]") {
            if self.skip_op(":") {
                at += 1;
                if at == 3 {
                    return Err(self.unexpected("`]`"));
                }
            } else if self.is_op(",") || parts[at].is_some() {
                break;
            } else {
                parts[at] = Some(self.expression()?);
            }
        }
        if at > 0 {
            self.expect_op("]")?;
            return Ok(Expr::Slice(Box::new(value), Box::new(parts)));
        }
        let [first, ..] = parts;
        let Some(first) = first else {
            return Err(self.unexpected("an index"));
        };
        if self.skip_op("]") {
            return Ok(Expr::Item(Box::new(value), Box::new(first)));
        }
        self.expect_op(",")?;
        let mut all = vec![first];
        all.extend(self.items("]")?);
        Ok(Expr::Item(Box::new(value), Box::new(Expr::Tuple(all))))
    }

    fn filters(&mut self, mut value: Expr) -> Result<Expr, Fault> {
        let mut count = 0;
        loop {
            self.chained(&mut count)?;
            if self.skip_op("|") {
                let filter = self.applied("filter")?;
                value = Expr::Filter(Box::new(value), Box::new(filter));
            } else if self.skip_name("is") {
                let negated = self.skip_name("not");
                let test = self.applied("test")?;
                value = Expr::Test(Box::new(value), Box::new(test));
                if negated {
                    value = Expr::Not(Box::new(value));
                }
            } else if self.is_op("(") {
                let arguments = self.nested(Parser::arguments)?;
                value = Expr::Call(Box::new(value), Box::new(arguments));
            } else {
                return Ok(value);
            }
        }
    }

    /// The name and the arguments of a filter or a test.
    pub(super) fn applied(&mut self, what: &str) -> Result<Applied, Fault> {
        let line = self.line();
        let mut name = self.name()?;
        while self.skip_op(".") {
            name = format!("{name}.{}", self.name()?).into();
        }
        let known = if what == "test" {
            is_test(&name)
        } else {
            is_filter(&name)
        };
        if !known && !self.is_soft {
            self.unknown.push(unknown(what, &name).at(line));
        }
        let arguments = if self.is_op("(") {
            self.nested(Parser::arguments)?
        } else if what == "test" && self.begins_argument() {
            if self.is_name("is") {
                return Err(fault("syntax error: tests with `is` cannot be chained"));
            }
            let value = self.nested(|parser| {
                let value = parser.primary()?;
                parser.postfix(value)
            })?;
            Arguments {
                positional: vec![value],
                ..Arguments::default()
            }
        } else {
            Arguments::default()
        };
        Ok(Applied { name, arguments })
    }

    /// True if a test's argument without parentheses begins.
    fn begins_argument(&self) -> bool {
        match self.peek() {
            Token::Name(name) => !matches!(&**name, "else" | "or" | "and"),
            Token::Str(_) | Token::Int(_) | Token::Float(_) => true,
            Token::Op(op) => matches!(*op, "[" | "{"),
            _ => false,
        }
    }

    fn arguments(&mut self) -> Result<Arguments, Fault> {
        let mut all = Arguments::default();
        let misplaced = || fault("syntax error: an argument stands at the wrong place");
        let mut is_first = true;
        self.expect_op("(")?;
        while !self.skip_op(")") {
            if !is_first {
                self.expect_op(",")?;
                if self.skip_op(")") {
                    break;
                }
            }
            is_first = false;
            let named = matches!(
                (self.peek(), self.ahead(1)),
                (Token::Name(_), Token::Op("="))
            );
            if self.skip_op("*") {
                if all.star.is_some() || all.double_star.is_some() {
                    return Err(misplaced());
                }
                all.star = Some(self.expression()?);
            } else if self.skip_op("**") {
                if all.double_star.is_some() {
                    return Err(misplaced());
                }
                all.double_star = Some(self.expression()?);
            } else if named {
                if all.double_star.is_some() {
                    return Err(misplaced());
                }
                let name = self.name()?;
                self.at += 1;
                if all.named.iter().any(|(known, _)| *known == name) {
                    return Err(fault(format!("syntax error: `{name}` is given twice")));
                }
                all.named.push((name, self.expression()?));
            } else {
                if all.star.is_some() || all.double_star.is_some() || !all.named.is_empty() {
                    return Err(misplaced());
                }
                all.positional.push(self.expression()?);
            }
        }
        Ok(all)
    }
}
