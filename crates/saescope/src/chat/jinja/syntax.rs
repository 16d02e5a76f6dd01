//! The tree of a template.

use std::sync::Arc;

/// A constant of an expression.
#[derive(Clone, Debug)]
pub(super) enum Const {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Arc<str>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Mod,
    Pow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    NotIn,
}

#[derive(Debug)]
pub(super) enum Expr {
    Const(Const),
    Name(Arc<str>),
    List(Vec<Expr>),
    Tuple(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    Attr(Box<Expr>, Arc<str>),
    Item(Box<Expr>, Box<Expr>),
    /// Start, stop and step.
    Slice(Box<Expr>, Box<[Option<Expr>; 3]>),
    Call(Box<Expr>, Box<Arguments>),
    Filter(Box<Expr>, Box<Applied>),
    Test(Box<Expr>, Box<Applied>),
    Neg(Box<Expr>),
    Pos(Box<Expr>),
    Not(Box<Expr>),
    And(Box<(Expr, Expr)>),
    Or(Box<(Expr, Expr)>),
    Binary(Operator, Box<(Expr, Expr)>),
    Concat(Vec<Expr>),
    Compare(Box<Expr>, Vec<(Comparison, Expr)>),
    If(Box<Choice>),
}

/// `then if condition else otherwise`.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) condition: Expr,
    pub(super) then: Expr,
    pub(super) otherwise: Option<Expr>,
}

/// The arguments of a call as they are written.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    pub(super) positional: Vec<Expr>,
    pub(super) named: Vec<(Arc<str>, Expr)>,
    pub(super) star: Option<Expr>,
    pub(super) double_star: Option<Expr>,
}

/// A filter or a test with its arguments.
#[derive(Debug)]
pub(super) struct Applied {
    pub(super) name: Arc<str>,
    pub(super) arguments: Arguments,
}

/// The place that a value is assigned to.
#[derive(Debug)]
pub(super) enum Target {
    Name(Arc<str>),
    Attr(Arc<str>, Arc<str>),
    Tuple(Vec<Target>),
}

/// A statement and its line, from 1.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) line: usize,
    pub(super) kind: Kind,
}

pub(super) type Body = Vec<Statement>;

#[derive(Debug)]
pub(super) enum Kind {
    Text(Arc<str>),
    Print(Vec<Expr>),
    If(Vec<(Expr, Body)>, Body),
    For(Arc<For>),
    Set(Target, Expr),
    SetBlock(Target, Vec<Applied>, Body),
    With(Vec<(Target, Expr)>, Body),
    Macro(Arc<Macro>),
    /// The macro that is called, and its caller.
    CallBlock(Expr, Arc<Macro>),
    FilterBlock(Vec<Applied>, Body),
    Block(Block),
    /// A body with its own variables: `generation` and `autoescape false`.
    Scope(Body),
    Break,
    Continue,
    /// A statement that no chat template can carry out.
    Refused(&'static str),
}

#[derive(Debug)]
pub(super) struct Block {
    pub(super) body: Body,
    /// True if the block sees the variables around it.
    pub(super) scoped: bool,
}

#[derive(Debug)]
pub(super) struct For {
    pub(super) target: Target,
    pub(super) over: Expr,
    pub(super) condition: Option<Expr>,
    pub(super) body: Body,
    pub(super) otherwise: Body,
    pub(super) recursive: bool,
    /// True if the body asks the loop itself, which then looks ahead.
    pub(super) asks_loop: bool,
}

#[derive(Debug)]
pub(super) struct Macro {
    pub(super) name: Arc<str>,
    /// Parameters, the last of which have the defaults.
    pub(super) parameters: Vec<Arc<str>>,
    pub(super) defaults: Vec<Expr>,
    pub(super) body: Body,
    pub(super) takes_caller: bool,
    pub(super) takes_varargs: bool,
    pub(super) takes_kwargs: bool,
}
