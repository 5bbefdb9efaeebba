//! What an author wrote, statement by statement.

use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

use super::calls::Words;
use super::classify;
use crate::event::EffectClass;

/// The SQL that we read.
pub(super) const DIALECT: PostgreSqlDialect = PostgreSqlDialect {};

/// The longest text that is read, in bytes.
const LONGEST: usize = 1 << 20;

/// SQL that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadSql(pub(super) String);

/// One or several statements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    statements: Vec<Statement>,
}

/// One statement, and what it does to the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    pub(super) text: String,
    pub(super) effect: EffectClass,
    /// Why it is not said to do less.
    pub(super) why: Option<String>,
    /// Its first word.
    pub(super) word: String,
    pub(super) parameters: u16,
    pub(super) shape: Shape,
    /// Whether every function that it calls only looks.
    pub(super) tame: bool,
    pub(super) fields: Vec<String>,
    pub(super) origin: Origin,
}

/// Where a statement stands in what its author wrote. All of it counts from 1; columns in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Origin {
    pub line: usize,
    pub column: usize,
    /// Which statement it is; 0 where there is no other.
    pub number: usize,
}

/// What kind of statement it is, as far as that decides on how it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// It can stand in parentheses after FROM.
    Query,
    /// It begins or ends a transaction.
    Control,
    /// Anything else.
    Other,
}

impl Script {
    /// Takes `text` apart.
    ///
    /// # Errors
    /// Where it is empty, too long, or not even words: a quote that does not end.
    pub fn parse(text: &str) -> Result<Self, BadSql> {
        if text.len() > LONGEST {
            let size = text.len();
            return Err(BadSql(format!("it is too long: {size} bytes of {LONGEST}")));
        }
        let tokens = tokens(text)?;
        let mut statements: Vec<Statement> = Vec::new();
        let mut from = 0;
        for at in 0..=tokens.len() {
            let is_end = tokens.get(at).is_none_or(|t| t.token == Token::SemiColon);
            if !is_end {
                continue;
            }
            let piece = tokens.get(from..at).unwrap_or_default();
            from = at + 1;
            let words = |t: &&Placed| !matches!(t.token, Token::Whitespace(_));
            let (Some(first), Some(last)) =
                (piece.iter().find(words), piece.iter().rev().find(words))
            else {
                continue;
            };
            let (line, column) = line_column(text.get(..first.from).unwrap_or_default());
            let text = text.get(first.from..last.to).unwrap_or_default();
            let number = statements.len() + 1;
            statements.push(Statement {
                origin: Origin {
                    line,
                    column,
                    number,
                },
                ..classify::statement(text, piece)
            });
        }
        if let [only] = statements.as_mut_slice() {
            only.origin.number = 0;
        }
        if statements.is_empty() {
            return Err(BadSql("there is no statement in it".to_owned()));
        }
        Ok(Self { statements })
    }

    /// Its statements, in their order.
    pub fn statements(&self) -> &[Statement] {
        &self.statements
    }

    /// What the worst of them does to the world.
    pub fn effect(&self) -> EffectClass {
        let effects = self.statements.iter().map(|statement| statement.effect);
        effects.max().unwrap_or(EffectClass::Destroy)
    }
}

impl Statement {
    /// Its text, without the semicolon.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it does to the world; what cannot be told is `destroy`.
    pub fn effect(&self) -> EffectClass {
        self.effect
    }

    /// Why it is not said to do less: "it calls `setval`, which may do anything".
    pub fn why(&self) -> Option<&str> {
        self.why.as_deref()
    }

    /// Its first word: `SELECT`.
    pub fn word(&self) -> &str {
        &self.word
    }

    /// The highest number of a parameter in it: 2 where it has `$2`.
    pub fn parameters(&self) -> u16 {
        self.parameters
    }

    /// The names in it that stand after a dot: a function of the database may be called so, `t.f` for `f(t)`.
    pub fn fields(&self) -> &[String] {
        &self.fields
    }

    /// Whether it only looks.
    pub fn only_looks(&self) -> bool {
        self.effect == EffectClass::Read && self.shape != Shape::Control
    }

    /// Whether the server plans it, and whether to let it do so is harmless: a plan may call functions.
    pub fn can_be_explained(&self) -> bool {
        let planned = [
            "SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "WITH", "VALUES", "TABLE",
        ];
        self.tame && planned.contains(&self.word.as_str())
    }

    /// Whether it is one that can stand in parentheses after FROM: SELECT, VALUES, WITH.
    pub fn is_query(&self) -> bool {
        self.shape == Shape::Query
    }

    /// Whether it begins or ends a transaction: BEGIN, COMMIT, ROLLBACK, SAVEPOINT, PREPARE TRANSACTION.
    pub fn is_transaction_control(&self) -> bool {
        self.shape == Shape::Control
    }
}

/// A condition on the rows of a table, which only looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Predicate {
    text: String,
    parameters: u16,
    asks: bool,
    fields: Vec<String>,
}

impl Predicate {
    /// Reads `text`.
    ///
    /// # Errors
    /// Where it is no condition, or may do more than look.
    pub fn parse(text: &str) -> Result<Self, BadSql> {
        let tokens = tokens(text)?;
        if let Some(why) = classify::condition(text, &tokens) {
            return Err(BadSql(why));
        }
        Ok(Self {
            text: text.trim().to_owned(),
            parameters: classify::parameters(&tokens),
            asks: tokens.iter().any(asks),
            fields: Words::of(&tokens).fields(),
        })
    }

    /// Whether it may read tables of its own, in a query within it.
    pub fn asks(&self) -> bool {
        self.asks
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The highest number of a parameter in it.
    pub fn parameters(&self) -> u16 {
        self.parameters
    }

    /// The names in it that stand after a dot: see [`Statement::fields`].
    pub fn fields(&self) -> &[String] {
        &self.fields
    }
}

/// Whether a token may begin a query that reads tables.
fn asks(placed: &Placed) -> bool {
    let Token::Word(word) = &placed.token else {
        return false;
    };
    let begins = ["select", "table"].iter();
    word.quote_style.is_none()
        && begins
            .into_iter()
            .any(|it| word.value.eq_ignore_ascii_case(it))
}

/// The line and the column that come after `before`, from 1; columns in characters.
pub(super) fn line_column(before: &str) -> (usize, usize) {
    let line = before.matches('\n').count() + 1;
    let last = before.rsplit('\n').next().unwrap_or_default();
    (line, last.chars().count() + 1)
}

/// A token, and where it is in the text, in bytes.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub token: Token,
    pub from: usize,
    pub to: usize,
}

fn tokens(text: &str) -> Result<Vec<Placed>, BadSql> {
    if text.contains('\0') {
        return Err(BadSql("there is a NUL character in it".to_owned()));
    }
    let tokens = Tokenizer::new(&DIALECT, text).tokenize_with_location();
    let tokens = tokens.map_err(|error| BadSql(error.to_string().to_lowercase()))?;
    let mut cursor = Cursor::new(text);
    let placed = tokens
        .into_iter()
        .map(|TokenWithSpan { token, span }| Placed {
            token,
            from: cursor.to(span.start),
            to: cursor.to(span.end),
        });
    let placed = Vec::from_iter(placed);
    let why = placed.iter().enumerate().find_map(|(at, token)| {
        let rest = placed.get(at + 1..).unwrap_or_default();
        read_otherwise(token, rest)
    });
    match why {
        Some(why) => Err(BadSql(why.to_owned())),
        None => Ok(placed),
    }
}

/// Why a token, before `rest`, may not be what the server takes it for: see `scan.l` in PostgreSQL's source.
fn read_otherwise(placed: &Placed, rest: &[Placed]) -> Option<&'static str> {
    let is_word = |it: &Placed, quoted| matches!(&it.token, Token::Word(word) if word.quote_style.is_some() == quoted);
    match &placed.token {
        // A backslash escapes nothing there, and no digit is one.
        Token::HexStringLiteral(digits) if !digits.chars().all(|c| c.is_ascii_hexdigit()) => {
            Some("X'…' takes hexadecimal digits alone")
        }
        Token::DoubleQuotedByteStringLiteral(_) => {
            Some("there is no blank between b and a quoted name")
        }
        Token::Word(word) if is_word(placed, false) && word.value.eq_ignore_ascii_case("u") => {
            match rest {
                [and, name, ..]
                    if and.token == Token::Ampersand
                        && is_word(name, true)
                        && (placed.to, and.to) == (and.from, name.from) =>
                {
                    Some(
                        "names with Unicode escapes (U&\"…\") are not read: write the characters themselves",
                    )
                }
                _ => None,
            }
        }
        // The server goes on with the escapes of the first part.
        Token::EscapedStringLiteral(_) => {
            let next = rest
                .iter()
                .find(|it| !matches!(it.token, Token::Whitespace(_)));
            next.is_some_and(|it| matches!(it.token, Token::SingleQuotedString(_)))
                .then_some("E'…' goes on in another string: write it as one")
        }
        _ => None,
    }
}

/// Where in a text a line and column are, asked in their order. Both are counted from 1, columns in
/// characters.
struct Cursor<'a> {
    rest: std::str::CharIndices<'a>,
    line: u64,
    column: u64,
}

impl<'a> Cursor<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            rest: text.char_indices(),
            line: 1,
            column: 1,
        }
    }

    fn to(&mut self, location: Location) -> usize {
        while (self.line, self.column) < (location.line, location.column) {
            match self.rest.next() {
                None => break,
                Some((_, '\n')) => (self.line, self.column) = (self.line + 1, 1),
                Some(_) => self.column += 1,
            }
        }
        self.rest.offset()
    }
}
