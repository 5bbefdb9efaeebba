//! From minijinja's tree to ours: names of filters and tests are resolved, references collected,
//! and what is not part of the language refused.

mod calls;

use std::ops::Range;

use minijinja::machinery::ast::{self, BinOpKind, CompareOpKind, UnaryOpKind};
use minijinja::value::Value;

use super::place::Place;
use super::reference::Reference;
use super::syntax::{end_of_quote, error};
use super::tree::{Kind, Node, Op};
use crate::diag::Diagnostic;

/// How deep a tree may be: checking and evaluating recurse.
const MAX_DEPTH: usize = 128;

/// The expression that is being read.
struct Lowering<'a> {
    source: &'a str,
    place: &'a Place,
    references: Vec<Reference>,
    depth: usize,
}

/// Reads `tree`, which was parsed from `source`.
pub(super) fn lower(
    source: &str,
    place: &Place,
    tree: &ast::Expr<'_>,
) -> Result<(Node, Vec<Reference>), Box<Diagnostic>> {
    let mut lowering = Lowering {
        source,
        place,
        references: Vec::new(),
        depth: 0,
    };
    let root = lowering.node(tree)?;
    Ok((root, lowering.references))
}

/// Boxed, because what recurses should not carry the room for a diagnostic in every frame.
type Lowered<T> = Result<T, Box<Diagnostic>>;

impl Lowering<'_> {
    fn node(&mut self, tree: &ast::Expr<'_>) -> Lowered<Node> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.refuse(
                "the expression is nested too deeply",
                0..self.source.len(),
                Some("compute it in a step, or in several `vars`"),
            ));
        }
        let node = self.inner(tree);
        self.depth -= 1;
        node
    }

    fn boxed(&mut self, tree: &ast::Expr<'_>) -> Lowered<Box<Node>> {
        self.node(tree).map(Box::new)
    }

    fn pair(&mut self, left: &ast::Expr<'_>, right: &ast::Expr<'_>) -> Lowered<Box<(Node, Node)>> {
        Ok(Box::new((self.node(left)?, self.node(right)?)))
    }

    fn inner(&mut self, tree: &ast::Expr<'_>) -> Lowered<Node> {
        let span = tree.span();
        let (mut start, end) = (span.start_offset, span.end_offset);
        if let Some(names) = path_of(tree) {
            return Ok(self.path(names, end));
        }
        let kind = match tree {
            ast::Expr::BinOp(_) | ast::Expr::Compare(_) | ast::Expr::IfExpr(_) => {
                let (kind, first) = self.operation(tree)?;
                // minijinja starts these at the token before them.
                start = self.opened(first, end);
                kind
            }
            ast::Expr::UnaryOp(unary) => self.unary(unary)?,
            ast::Expr::Const(constant) => self.constant(&constant.value, start, end)?,
            ast::Expr::Call(call) => self.call(call)?,
            ast::Expr::List(list) => Kind::List(self.nodes(&list.items)?),
            ast::Expr::Tuple(tuple) => Kind::List(self.nodes(&tuple.items)?),
            ast::Expr::Map(map) => {
                let mut entries = Vec::with_capacity(map.keys.len());
                for (key, value) in map.keys.iter().zip(&map.values) {
                    entries.push((self.node(key)?, self.node(value)?));
                }
                Kind::Map(entries)
            }
            postfix => {
                let (kind, first) = self.postfix(postfix, start)?;
                start = first;
                kind
            }
        };
        Ok(Node { kind, start, end })
    }

    /// What stands between its operands, and where its first one starts.
    fn operation(&mut self, tree: &ast::Expr<'_>) -> Lowered<(Kind, u32)> {
        match tree {
            ast::Expr::BinOp(binary) => {
                let pair = self.pair(&binary.left, &binary.right)?;
                let start = pair.0.start;
                let kind = match binary.op {
                    BinOpKind::ScAnd => Kind::And(pair),
                    BinOpKind::ScOr => Kind::Or(pair),
                    op => Kind::Binary(operator(op), pair),
                };
                Ok((kind, start))
            }
            ast::Expr::Compare(chain) => {
                let first = self.boxed(&chain.expr)?;
                let start = first.start;
                let mut rest = Vec::with_capacity(chain.ops.len());
                for step in &chain.ops {
                    rest.push((comparison(step.op), self.node(&step.expr)?));
                }
                Ok((Kind::Chain(first, rest), start))
            }
            ast::Expr::IfExpr(choice) => {
                let then = self.node(&choice.true_expr)?;
                let test = self.node(&choice.test_expr)?;
                let Some(otherwise) = &choice.false_expr else {
                    let range = then.start as usize..test.end as usize;
                    return Err(self.refuse(
                        "an `if` without `else`",
                        range,
                        Some("say what it is when the condition does not hold: `a if b else c`"),
                    ));
                };
                let start = then.start;
                let otherwise = self.node(otherwise)?;
                Ok((Kind::Choose(Box::new([test, then, otherwise])), start))
            }
            other => Err(self.unreadable(other)),
        }
    }

    /// What stands after its operand, and where that starts; `name` is where its own name does.
    fn postfix(&mut self, tree: &ast::Expr<'_>, name: u32) -> Lowered<(Kind, u32)> {
        match tree {
            ast::Expr::GetAttr(attribute) => {
                let base = self.boxed(&attribute.expr)?;
                let start = base.start;
                Ok((Kind::Attribute(base, attribute.name.into()), start))
            }
            ast::Expr::GetItem(item) => {
                let pair = self.pair(&item.expr, &item.subscript_expr)?;
                let start = pair.0.start;
                Ok((Kind::Item(pair), start))
            }
            ast::Expr::Slice(slice) => {
                let base = self.boxed(&slice.expr)?;
                let start = base.start;
                let mut bound = |tree: &Option<ast::Expr<'_>>| {
                    tree.as_ref().map(|tree| self.node(tree)).transpose()
                };
                let bounds = [
                    bound(&slice.start)?,
                    bound(&slice.stop)?,
                    bound(&slice.step)?,
                ];
                Ok((Kind::Slice(base, Box::new(bounds)), start))
            }
            ast::Expr::Filter(filter) => {
                let Some(input) = &filter.expr else {
                    return Err(self.unreadable(tree));
                };
                let known = self.filter(filter.name, name)?;
                let input = self.boxed(input)?;
                let start = input.start;
                let arguments = self.arguments(&filter.args)?;
                Ok((Kind::Filter(known, input, arguments), start))
            }
            ast::Expr::Test(test) => {
                let known = self.test(test.name, name)?;
                let input = self.boxed(&test.expr)?;
                let start = input.start;
                let arguments = self.arguments(&test.args)?;
                Ok((Kind::Test(known, input, arguments), start))
            }
            other => Err(self.unreadable(other)),
        }
    }

    /// For what minijinja's parser never yields here.
    fn unreadable(&self, tree: &ast::Expr<'_>) -> Box<Diagnostic> {
        let message = format!("a {} cannot stand here", tree.description());
        self.refuse(&message, 0..self.source.len(), None)
    }

    /// Out of line, so that what recurses has no room for it in its frames.
    #[cold]
    #[inline(never)]
    fn refuse(&self, message: &str, range: Range<usize>, help: Option<&str>) -> Box<Diagnostic> {
        let diagnostic = error(message).at(self.place.span(range));
        Box::new(diagnostic.maybe_help(help.map(str::to_owned)))
    }

    fn nodes(&mut self, trees: &[ast::Expr<'_>]) -> Lowered<Vec<Node>> {
        trees.iter().map(|tree| self.node(tree)).collect()
    }

    /// Where an operation starts whose left side starts at `start`: before the brackets around it.
    fn opened(&self, start: u32, end: u32) -> u32 {
        let bytes = self.source.as_bytes();
        let inside = bytes.get(start as usize..end as usize).unwrap_or_default();
        let (mut depth, mut open) = (0_usize, 0_usize);
        let mut at = 0;
        while let Some(byte) = inside.get(at) {
            match byte {
                b'\'' | b'"' => at = end_of_quote(inside, at).unwrap_or(inside.len()) - 1,
                b'(' => depth += 1,
                b')' if depth == 0 => open += 1,
                b')' => depth -= 1,
                _ => {}
            }
            at += 1;
        }
        let mut first = start as usize;
        while open > 0 && first > 0 {
            first -= 1;
            match bytes.get(first) {
                Some(b'(') => open -= 1,
                Some(byte) if byte.is_ascii_whitespace() => {}
                _ => return start,
            }
        }
        first as u32
    }

    fn path(&mut self, names: Vec<(&str, u32, u32)>, end: u32) -> Node {
        let start = names.first().map_or(end, |(_, start, _)| *start);
        let range = start as usize..end as usize;
        self.references.push(Reference {
            path: names.iter().map(|(name, ..)| (*name).into()).collect(),
            span: self.place.span(range),
            names: names.iter().map(|(_, from, to)| (*from, *to)).collect(),
        });
        Node {
            kind: Kind::Path(self.references.len() - 1),
            start,
            end,
        }
    }

    fn constant(&self, value: &Value, start: u32, end: u32) -> Lowered<Kind> {
        let whole = !value.is_integer() || value.as_i64().is_some();
        let finite = value.is_integer()
            || !value.is_number()
            || f64::try_from(value.clone()).is_ok_and(f64::is_finite);
        if whole && finite {
            return Ok(Kind::Constant(value.clone()));
        }
        Err(self.refuse(
            "the number is too large: whole numbers have 64 bits",
            start as usize..end as usize,
            None,
        ))
    }

    fn unary(&mut self, unary: &ast::UnaryOp<'_>) -> Lowered<Kind> {
        if let (UnaryOpKind::Neg, ast::Expr::Const(constant)) = (&unary.op, &unary.expr) {
            // `-9223372036854775808` is the smallest whole number; its digits alone are too large.
            let value = &constant.value;
            let negative = super::operate::negate(value).ok().or_else(|| {
                let digits = u64::try_from(value.clone()).ok();
                let smallest = digits == Some(i64::MIN.unsigned_abs());
                smallest.then(|| Value::from(i64::MIN))
            });
            if let Some(negative) = negative {
                return Ok(Kind::Constant(negative));
            }
        }
        let operand = self.boxed(&unary.expr)?;
        Ok(match unary.op {
            UnaryOpKind::Not => Kind::Not(operand),
            UnaryOpKind::Neg => Kind::Negate(operand),
        })
    }
}

/// The names of a path from a root, each with its bytes; nothing if `tree` is none.
fn path_of<'a>(tree: &'a ast::Expr<'a>) -> Option<Vec<(&'a str, u32, u32)>> {
    let mut names = Vec::new();
    let mut tree = tree;
    loop {
        match tree {
            ast::Expr::Var(var) => {
                let span = var.span();
                names.push((var.id, span.start_offset, span.end_offset));
                names.reverse();
                return Some(names);
            }
            ast::Expr::GetAttr(attribute) => {
                let end = attribute.span().end_offset;
                let length = attribute.name.len() as u32;
                names.push((attribute.name, end.saturating_sub(length), end));
                tree = &attribute.expr;
            }
            ast::Expr::GetItem(item) => {
                let ast::Expr::Const(key) = &item.subscript_expr else {
                    return None;
                };
                let span = key.span();
                names.push((key.value.as_str()?, span.start_offset, span.end_offset));
                tree = &item.expr;
            }
            _ => return None,
        }
    }
}

fn operator(op: BinOpKind) -> Op {
    match op {
        BinOpKind::Eq => Op::Equal,
        BinOpKind::Ne => Op::NotEqual,
        BinOpKind::Lt => Op::Less,
        BinOpKind::Lte => Op::LessOrEqual,
        BinOpKind::Gt => Op::Greater,
        BinOpKind::Gte => Op::GreaterOrEqual,
        BinOpKind::In => Op::In,
        BinOpKind::Add => Op::Add,
        BinOpKind::Sub => Op::Subtract,
        BinOpKind::Mul => Op::Multiply,
        BinOpKind::Div => Op::Divide,
        BinOpKind::FloorDiv => Op::DivideFloor,
        BinOpKind::Rem => Op::Remainder,
        BinOpKind::Pow => Op::Power,
        // `and` and `or` are nodes of their own, and never come here.
        BinOpKind::Concat | BinOpKind::ScAnd | BinOpKind::ScOr => Op::Concatenate,
    }
}

fn comparison(op: CompareOpKind) -> Op {
    match op {
        CompareOpKind::Eq => Op::Equal,
        CompareOpKind::Ne => Op::NotEqual,
        CompareOpKind::Lt => Op::Less,
        CompareOpKind::Lte => Op::LessOrEqual,
        CompareOpKind::Gt => Op::Greater,
        CompareOpKind::Gte => Op::GreaterOrEqual,
        CompareOpKind::In => Op::In,
        CompareOpKind::NotIn => Op::NotIn,
    }
}
