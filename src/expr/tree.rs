//! The tree of an expression: what checking and evaluating walk.

use minijinja::Value;

use super::library::{Filter, Test};

/// One node, with the bytes of the expression that it was read from.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Node {
    pub(super) fn range(&self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// What a node is.
#[derive(Debug)]
pub(super) enum Kind {
    /// A literal.
    Constant(Value),
    /// `root.field.field`: the reference of this index.
    Path(usize),
    /// `….name`, after something that is no path.
    Attribute(Box<Node>, Box<str>),
    /// `…[…]`.
    Item(Box<(Node, Node)>),
    /// `…[start:stop:step]`.
    Slice(Box<Node>, Box<[Option<Node>; 3]>),
    Not(Box<Node>),
    Negate(Box<Node>),
    And(Box<(Node, Node)>),
    Or(Box<(Node, Node)>),
    Binary(Op, Box<(Node, Node)>),
    /// `a < b < c`.
    Chain(Box<Node>, Vec<(Op, Node)>),
    /// `then if test else otherwise`, as test, then, otherwise.
    Choose(Box<[Node; 3]>),
    Filter(&'static Filter, Box<Node>, Arguments),
    Test(&'static Test, Box<Node>, Arguments),
    /// `range(…)`, the one function.
    Range(Vec<Node>),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

/// What stands in the parentheses of a filter or test.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    pub(super) positional: Vec<Node>,
    pub(super) named: Vec<(Box<str>, Node)>,
}

impl Arguments {
    /// The argument called `name`, or the one at `position`.
    pub(super) fn get(&self, position: Option<usize>, name: &str) -> Option<&Node> {
        let named = self.named.iter().find(|(known, _)| &**known == name);
        named
            .map(|(_, node)| node)
            .or_else(|| self.positional.get(position?))
    }

    /// All of them, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Node> {
        let named = self.named.iter().map(|(_, node)| node);
        self.positional.iter().chain(named)
    }
}

impl Node {
    /// The text of a text literal.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Constant(value) => value.as_str(),
            _ => None,
        }
    }
}

/// An operator between two values; `and` and `or` are nodes of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    NotIn,
    Add,
    Subtract,
    Multiply,
    Divide,
    DivideFloor,
    Remainder,
    Power,
    Concatenate,
}

impl Op {
    /// As it is written.
    pub(super) fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::In => "in",
            Self::NotIn => "not in",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::DivideFloor => "//",
            Self::Remainder => "%",
            Self::Power => "**",
            Self::Concatenate => "~",
        }
    }

    /// Whether it says which of two comes first.
    pub(super) fn is_order(self) -> bool {
        matches!(
            self,
            Self::Less | Self::LessOrEqual | Self::Greater | Self::GreaterOrEqual
        )
    }

    /// Whether it answers true or false.
    pub(super) fn is_question(self) -> bool {
        self.is_order() || matches!(self, Self::Equal | Self::NotEqual | Self::In | Self::NotIn)
    }
}
