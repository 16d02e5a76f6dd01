//! Expressions, evaluated.

use std::rc::Rc;
use std::sync::Arc;

use super::fault::{Fault, fault};
use super::interpreter::{Args, Interpreter};
use super::operators::{compare, insert, operate};
use super::print::text_of;
use super::syntax::{Applied, Arguments, Comparison, Expr, Operator};
use super::value::{Function, Scope, Value};

/// The functions of every template.
const GLOBALS: [&str; 8] = [
    "range",
    "dict",
    "namespace",
    "cycler",
    "joiner",
    "lipsum",
    "raise_exception",
    "strftime_now",
];

impl Interpreter {
    pub(super) fn evaluate(&self, expr: &Expr, scope: &Rc<Scope>) -> Result<Value, Fault> {
        self.limits.step(1)?;
        self.limits.deeper(|| self.inner(expr, scope))
    }

    fn inner(&self, expr: &Expr, scope: &Rc<Scope>) -> Result<Value, Fault> {
        match expr {
            Expr::Const(constant) => Ok(constant.into()),
            Expr::Name(name) => Ok(self.name(name, scope)),
            Expr::List(items) => Value::list(self.all(items, scope)?),
            Expr::Tuple(items) => Value::tuple(self.all(items, scope)?),
            Expr::Dict(entries) => self.dict(entries, scope),
            Expr::Attr(value, name) => {
                let value = self.evaluate(value, scope)?;
                self.attribute(&value, name)
            }
            Expr::Item(value, index) => {
                let value = self.evaluate(value, scope)?;
                let index = self.evaluate(index, scope)?;
                self.item(&value, &index)
            }
            Expr::Slice(value, parts) => {
                let value = self.evaluate(value, scope)?;
                let part = |at: usize| match &parts[at] {
                    Some(part) => self.evaluate(part, scope),
                    None => Ok(Value::None),
                };
                self.slice(&value, &[part(0)?, part(1)?, part(2)?])
            }
            Expr::Call(..) => self.call_with(expr, None, scope),
            Expr::Filter(value, filter) => {
                let value = self.evaluate(value, scope)?;
                self.apply_filter(value, filter, scope)
            }
            Expr::Test(value, test) => {
                let value = self.evaluate(value, scope)?;
                let args = self.arguments(&test.arguments, scope)?;
                self.test(&test.name, &value, args).map(Value::Bool)
            }
            Expr::If(choice) => {
                if self.evaluate(&choice.condition, scope)?.is_true() {
                    self.evaluate(&choice.then, scope)
                } else if let Some(otherwise) = &choice.otherwise {
                    self.evaluate(otherwise, scope)
                } else {
                    Ok(Value::undefined(
                        "the inline if-expression evaluated to false and no else section was defined",
                    ))
                }
            }
            operation => self.operation(operation, scope),
        }
    }

    /// The value of an operator.
    fn operation(&self, expr: &Expr, scope: &Rc<Scope>) -> Result<Value, Fault> {
        match expr {
            Expr::Not(value) => Ok(Value::Bool(!self.evaluate(value, scope)?.is_true())),
            Expr::And(both) => {
                let left = self.evaluate(&both.0, scope)?;
                if left.is_true() {
                    self.evaluate(&both.1, scope)
                } else {
                    Ok(left)
                }
            }
            Expr::Or(both) => {
                let left = self.evaluate(&both.0, scope)?;
                if left.is_true() {
                    Ok(left)
                } else {
                    self.evaluate(&both.1, scope)
                }
            }
            Expr::Neg(value) => {
                let value = self.evaluate(value, scope)?;
                value.defined()?;
                match value {
                    Value::Float(value) => Ok(Value::Float(-value)),
                    _ => operate(&self.limits, Operator::Sub, &Value::Int(0), &value),
                }
            }
            Expr::Pos(value) => {
                let value = self.evaluate(value, scope)?;
                operate(&self.limits, Operator::Add, &Value::Int(0), &value)
            }
            Expr::Binary(operator, both) => {
                let left = self.evaluate(&both.0, scope)?;
                let right = self.evaluate(&both.1, scope)?;
                operate(&self.limits, *operator, &left, &right)
            }
            Expr::Concat(parts) => self.concat(parts, scope),
            Expr::Compare(first, rest) => self.compare(first, rest, scope),
            _ => Err(fault("an expression of an unknown kind")),
        }
    }

    fn name(&self, name: &Arc<str>, scope: &Scope) -> Value {
        if let Some(value) = scope.get(name) {
            return value;
        }
        match GLOBALS.iter().find(|known| ***known == **name) {
            Some(known) => Value::function(Function::Global(known)),
            None => Value::undefined(format!("'{name}' is undefined")),
        }
    }

    fn all(&self, items: &[Expr], scope: &Rc<Scope>) -> Result<Vec<Value>, Fault> {
        self.limits.elements(items.len())?;
        items
            .iter()
            .map(|item| self.evaluate(item, scope))
            .collect()
    }

    fn dict(&self, pairs: &[(Expr, Expr)], scope: &Rc<Scope>) -> Result<Value, Fault> {
        self.limits.elements(2 * pairs.len())?;
        let mut entries = Vec::new();
        for (key, value) in pairs {
            let key = self.evaluate(key, scope)?;
            let value = self.evaluate(value, scope)?;
            insert(&self.limits, &mut entries, key, value)?;
        }
        Value::dict(entries)
    }

    fn concat(&self, parts: &[Expr], scope: &Rc<Scope>) -> Result<Value, Fault> {
        let mut all = String::new();
        for part in parts {
            let value = self.evaluate(part, scope)?;
            let text = text_of(&self.limits, &value)?;
            self.limits.charge(text.len())?;
            all.push_str(&text);
        }
        Ok(Value::text(all))
    }

    fn compare(
        &self,
        first: &Expr,
        rest: &[(Comparison, Expr)],
        scope: &Rc<Scope>,
    ) -> Result<Value, Fault> {
        let mut left = self.evaluate(first, scope)?;
        for (comparison, right) in rest {
            let right = self.evaluate(right, scope)?;
            let holds = match comparison {
                Comparison::In => self.contains(&right, &left)?,
                Comparison::NotIn => !self.contains(&right, &left)?,
                _ => compare(&self.limits, *comparison, &left, &right)?,
            };
            if !holds {
                return Ok(Value::Bool(false));
            }
            left = right;
        }
        Ok(Value::Bool(true))
    }

    /// The value of a call, with the caller of a `call` block.
    pub(super) fn call_with(
        &self,
        call: &Expr,
        caller: Option<Value>,
        scope: &Rc<Scope>,
    ) -> Result<Value, Fault> {
        let Expr::Call(function, arguments) = call else {
            return self.evaluate(call, scope);
        };
        let function = self.evaluate(function, scope)?;
        let mut args = self.arguments(arguments, scope)?;
        args.named
            .extend(caller.map(|caller| (Arc::from("caller"), caller)));
        self.call(&function, args)
    }

    pub(super) fn apply_filter(
        &self,
        value: Value,
        filter: &Applied,
        scope: &Rc<Scope>,
    ) -> Result<Value, Fault> {
        let args = self.arguments(&filter.arguments, scope)?;
        self.filter(&filter.name, value, args)
    }

    fn arguments(&self, all: &Arguments, scope: &Rc<Scope>) -> Result<Args, Fault> {
        let mut args = Args::default();
        for value in &all.positional {
            args.positional.push(self.evaluate(value, scope)?);
        }
        for (name, value) in &all.named {
            args.named
                .push((name.clone(), self.evaluate(value, scope)?));
        }
        if let Some(star) = &all.star {
            let more = self.evaluate(star, scope)?;
            args.positional.extend(self.iterate(&more)?);
        }
        let Some(double_star) = &all.double_star else {
            return Ok(args);
        };
        let Value::Dict(more) = self.evaluate(double_star, scope)? else {
            return Err(fault("the argument after ** is no map"));
        };
        self.limits.elements(more.entries.len())?;
        for (key, value) in &more.entries {
            let Value::Str(name) = key else {
                return Err(fault("keywords must be strings"));
            };
            if args.named.iter().any(|(known, _)| known == name) {
                return Err(fault(format!("got multiple values for argument '{name}'")));
            }
            args.named.push((name.clone(), value.clone()));
        }
        Ok(args)
    }
}
