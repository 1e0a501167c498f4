//! The text of a routing rule, checked when it is saved rather than when it is needed.
//!
//! In: a CEL expression. Out: a [`Condition`] that is known to be boolean and to name only what
//! exists, with its regular expressions compiled and the models that it can match at all; or a
//! [`BadRule`] that says what is wrong. Never: evaluates.
//!
//! The grammar and its meaning are CEL's (<https://github.com/google/cel-spec>), by the `cel`
//! crate; that crate checks no types, so the part that rules need is checked here.

use super::quick::Quick;
use cel::IdedExpr;
use cel::common::ast::{CallExpr, EntryExpr, Expr, LiteralValue, operators};
use cel::parser::PrattParser;
use hashbrown::HashSet;
use regex::Regex;

/// Longest text of a rule.
const MAX_BYTES: usize = 8 << 10;
/// Deepest nesting, and most operations and operands. Parser and evaluation recurse.
const MAX_DEPTH: usize = 48;
const MAX_PARSE_DEPTH: u16 = 48;
const MAX_NODES: usize = 2_000;
/// Most memory that one pattern may take.
const PATTERN_BYTES: usize = 1 << 20;
/// The name that a compiled `matches` is called by; no rule can spell it.
pub(super) const MATCHES: &str = "@matches";
/// Before the number of a compiled pattern.
pub(super) const PATTERN: &str = "@pattern";

/// An expression, ready to be evaluated.
#[derive(Debug)]
pub struct Condition {
    pub(super) expression: IdedExpr,
    /// The same, where it is simple enough.
    pub(super) quick: Option<Quick>,
    pub(super) patterns: Vec<Pattern>,
    /// The only values of `model` under which it can be true; `None`: any.
    pub(super) models: Option<HashSet<Box<str>>>,
    /// Whether it looks at headers or parameters as wholes, not by name.
    pub(super) whole_maps: bool,
}

/// A compiled regular expression, as a value of CEL's.
#[derive(Debug, Clone)]
pub struct Pattern(pub(super) Regex);

/// Why a rule is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRule {
    #[error("longer than {MAX_BYTES} bytes")]
    TooLong,
    #[error("nested more than {MAX_DEPTH} deep")]
    TooDeep,
    #[error("{0}")]
    Syntax(String),
    #[error("`{0}` is no variable; there are {names}", names = VARIABLES.map(|(name, _)| name).join(", "))]
    UnknownVariable(String),
    #[error("there is no function `{0}` with these arguments")]
    UnknownFunction(String),
    #[error("{0}")]
    Type(String),
    #[error("the expression is {0}, not true or false")]
    NotBoolean(&'static str),
    #[error("the pattern of matches() must be a literal text")]
    PatternNotLiteral,
    #[error("{0}")]
    Pattern(String),
}

/// What an expression evaluates to, as far as it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bool,
    Text,
    Number,
    /// Name to text.
    Texts,
    /// Name to number.
    Numbers,
    List,
    /// Not known before it is evaluated.
    Any,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Bool => "a boolean",
            Self::Text => "a text",
            Self::Number => "a number",
            Self::Texts | Self::Numbers => "a map",
            Self::List => "a list",
            Self::Any => "anything",
        }
    }

    fn may_be(self, wanted: Self) -> bool {
        self == wanted || self == Self::Any || wanted == Self::Any
    }
}

/// The variables of a rule (reference §3.2, and `budget_used_in`).
const VARIABLES: [(&str, Kind); 16] = [
    ("model", Kind::Text),
    ("provider", Kind::Text),
    ("request_type", Kind::Text),
    ("headers", Kind::Texts),
    ("params", Kind::Texts),
    ("virtual_key_id", Kind::Text),
    ("virtual_key_name", Kind::Text),
    ("team_id", Kind::Text),
    ("team_name", Kind::Text),
    ("customer_id", Kind::Text),
    ("customer_name", Kind::Text),
    ("budget_used", Kind::Number),
    ("budget_used_in", Kind::Numbers),
    ("tokens_used", Kind::Number),
    ("request", Kind::Number),
    ("complexity_tier", Kind::Text),
];

impl Condition {
    /// An empty text is always true.
    pub fn compile(text: &str) -> Result<Self, BadRule> {
        if text.len() > MAX_BYTES {
            return Err(BadRule::TooLong);
        }
        let text = if text.trim().is_empty() { "true" } else { text };
        let parser = PrattParser::new()
            .max_recursion_depth(MAX_PARSE_DEPTH)
            .enable_optional_syntax(false)
            .max_expression_node_count(MAX_NODES);
        let mut expression =
            parser.parse(text).map_err(|errors| BadRule::Syntax(errors.to_string()))?;
        let mut check =
            Check { bound: Vec::new(), patterns: Vec::new(), whole_maps: false, depth: 0 };
        let kind = check.kind(&mut expression)?;
        if !kind.may_be(Kind::Bool) {
            return Err(BadRule::NotBoolean(kind.name()));
        }
        Ok(Self {
            models: models(&expression),
            quick: Quick::of(&expression),
            expression,
            patterns: check.patterns,
            whole_maps: check.whole_maps,
        })
    }
}

struct Check {
    /// Names that comprehensions bind.
    bound: Vec<String>,
    patterns: Vec<Pattern>,
    whole_maps: bool,
    depth: usize,
}

impl Check {
    fn kind(&mut self, expression: &mut IdedExpr) -> Result<Kind, BadRule> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(BadRule::TooDeep);
        }
        let kind = self.kind_of(expression);
        self.depth -= 1;
        kind
    }

    fn kind_of(&mut self, expression: &mut IdedExpr) -> Result<Kind, BadRule> {
        match &mut expression.expr {
            Expr::Literal(literal) => Ok(match literal {
                LiteralValue::Boolean(_) => Kind::Bool,
                LiteralValue::String(_) => Kind::Text,
                LiteralValue::Double(_) | LiteralValue::Int(_) | LiteralValue::UInt(_) => {
                    Kind::Number
                }
                LiteralValue::Bytes(_) | LiteralValue::Null => Kind::Any,
            }),
            Expr::Ident(name) => self.variable(name, true),
            Expr::Select(select) => {
                let map = self.map_kind(&mut select.operand)?;
                if select.test { Ok(Kind::Bool) } else { value_of(map) }
            }
            Expr::List(list) => {
                for element in &mut list.elements {
                    self.kind(element)?;
                }
                Ok(Kind::List)
            }
            Expr::Map(map) => {
                for entry in &mut map.entries {
                    if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                        self.kind(&mut entry.key)?;
                        self.kind(&mut entry.value)?;
                    }
                }
                Ok(Kind::Any)
            }
            Expr::Comprehension(all) => {
                let over = self.kind(&mut all.iter_range)?;
                if !over.may_be(Kind::List) && !matches!(over, Kind::Texts | Kind::Numbers) {
                    return Err(BadRule::Type(format!("{} cannot be gone through", over.name())));
                }
                let accumulated = self.kind(&mut all.accu_init)?;
                let bound = self.bound.len();
                self.bound.extend([all.iter_var.clone(), all.accu_var.clone()]);
                self.bound.extend(all.iter_var2.clone());
                for part in [&mut all.loop_cond, &mut all.loop_step, &mut all.result] {
                    self.kind(part)?;
                }
                self.bound.truncate(bound);
                Ok(if accumulated == Kind::Number { Kind::Any } else { accumulated })
            }
            Expr::Call(call) => self.call(call),
            Expr::Struct(strct) => Err(BadRule::UnknownFunction(strct.type_name.clone())),
            Expr::Unspecified => Err(BadRule::Syntax("an empty expression".to_owned())),
        }
    }

    fn variable(&mut self, name: &str, whole: bool) -> Result<Kind, BadRule> {
        if name.starts_with('@') || self.bound.iter().any(|bound| bound == name) {
            return Ok(Kind::Any);
        }
        let known = VARIABLES.iter().find(|(known, _)| *known == name);
        let kind = known.map(|(_, kind)| *kind);
        self.whole_maps |= whole && matches!(kind, Some(Kind::Texts | Kind::Numbers));
        kind.ok_or_else(|| BadRule::UnknownVariable(name.to_owned()))
    }

    /// Of something that is looked into by name.
    fn map_kind(&mut self, operand: &mut IdedExpr) -> Result<Kind, BadRule> {
        match &operand.expr {
            Expr::Ident(name) => {
                let name = name.clone();
                self.variable(&name, false)
            }
            _ => self.kind(operand),
        }
    }

    fn call(&mut self, call: &mut CallExpr) -> Result<Kind, BadRule> {
        let name = call.func_name.clone();
        match (&*name, call.target.as_deref_mut(), &mut *call.args) {
            (operators::LOGICAL_AND | operators::LOGICAL_OR, None, [left, right]) => {
                self.expect(left, Kind::Bool, &name)?;
                self.expect(right, Kind::Bool, &name)?;
                Ok(Kind::Bool)
            }
            (operators::LOGICAL_NOT | operators::NOT_STRICTLY_FALSE, None, [one]) => {
                self.expect(one, Kind::Bool, &name)?;
                Ok(Kind::Bool)
            }
            (operators::CONDITIONAL, None, [test, yes, no]) => {
                self.expect(test, Kind::Bool, &name)?;
                let (yes, no) = (self.kind(yes)?, self.kind(no)?);
                Ok(if yes == no { yes } else { Kind::Any })
            }
            (
                operators::EQUALS
                | operators::NOT_EQUALS
                | operators::LESS
                | operators::LESS_EQUALS
                | operators::GREATER
                | operators::GREATER_EQUALS,
                None,
                [left, right],
            ) => {
                let (left, right) = (self.kind(left)?, self.kind(right)?);
                if left.may_be(right) {
                    Ok(Kind::Bool)
                } else {
                    let (left, right) = (left.name(), right.name());
                    Err(BadRule::Type(format!("{left} is compared with {right}")))
                }
            }
            (operators::IN, None, [item, container]) => {
                self.kind(item)?;
                match self.map_kind(container)? {
                    Kind::List | Kind::Texts | Kind::Numbers | Kind::Any => Ok(Kind::Bool),
                    other => Err(BadRule::Type(format!("`in` looks into {}", other.name()))),
                }
            }
            (operators::INDEX, None, [map, index]) => {
                self.kind(index)?;
                let map = self.map_kind(map)?;
                value_of(map)
            }
            (operators::ADD, None, [left, right]) => {
                let (left, right) = (self.kind(left)?, self.kind(right)?);
                if left.may_be(right) { Ok(left) } else { Err(BadRule::UnknownFunction(name)) }
            }
            (
                operators::SUBSTRACT
                | operators::MULTIPLY
                | operators::DIVIDE
                | operators::MODULO
                | operators::NEGATE,
                None,
                numbers,
            ) => {
                for number in numbers {
                    self.expect(number, Kind::Number, &name)?;
                }
                Ok(Kind::Number)
            }
            _ => self.function(call),
        }
    }

    fn function(&mut self, call: &mut CallExpr) -> Result<Kind, BadRule> {
        let name = call.func_name.clone();
        match (&*name, call.target.as_deref_mut(), &mut *call.args) {
            ("startsWith" | "endsWith" | "contains", Some(text), [part]) => {
                self.expect(text, Kind::Text, &name)?;
                self.expect(part, Kind::Text, &name)?;
                Ok(Kind::Bool)
            }
            ("matches", Some(text), [pattern]) | ("matches", None, [text, pattern]) => {
                self.expect(text, Kind::Text, &name)?;
                let compiled = self.pattern(pattern)?;
                let text = std::mem::take(text);
                *call = CallExpr {
                    func_name: MATCHES.to_owned(),
                    target: None,
                    args: vec![text, compiled],
                };
                Ok(Kind::Bool)
            }
            ("size", Some(one), []) | ("size", None, [one]) => match self.kind(one)? {
                Kind::Bool | Kind::Number => Err(BadRule::UnknownFunction(name)),
                _ => Ok(Kind::Number),
            },
            ("int" | "uint" | "double", None, [one]) => {
                self.kind(one)?;
                Ok(Kind::Number)
            }
            ("string", None, [one]) => {
                self.kind(one)?;
                Ok(Kind::Text)
            }
            _ => Err(BadRule::UnknownFunction(name)),
        }
    }

    fn expect(&mut self, expression: &mut IdedExpr, wanted: Kind, by: &str) -> Result<(), BadRule> {
        let kind = self.kind(expression)?;
        if kind.may_be(wanted) {
            return Ok(());
        }
        let by = by.trim_matches(['_', '@']);
        Err(BadRule::Type(format!("`{by}` takes {}, not {}", wanted.name(), kind.name())))
    }

    /// Compiles a pattern once, and puts the name of the result in its place.
    fn pattern(&mut self, pattern: &IdedExpr) -> Result<IdedExpr, BadRule> {
        let Expr::Literal(LiteralValue::String(text)) = &pattern.expr else {
            return Err(BadRule::PatternNotLiteral);
        };
        let compiled = regex::RegexBuilder::new(text.inner())
            .size_limit(PATTERN_BYTES)
            .build()
            .map_err(|error| BadRule::Pattern(error.to_string()))?;
        let name = format!("{PATTERN}{}", self.patterns.len());
        self.patterns.push(Pattern(compiled));
        Ok(IdedExpr { id: pattern.id, expr: Expr::Ident(name) })
    }
}

fn value_of(map: Kind) -> Result<Kind, BadRule> {
    match map {
        Kind::Texts => Ok(Kind::Text),
        Kind::Numbers => Ok(Kind::Number),
        Kind::List | Kind::Any => Ok(Kind::Any),
        other => Err(BadRule::Type(format!("{} has no entries", other.name()))),
    }
}

/// The values of `model` outside of which the expression cannot be true, if that shows. An error
/// is not true, either: so whatever stands beside a comparison that fails changes nothing.
fn models(expression: &IdedExpr) -> Option<HashSet<Box<str>>> {
    let Expr::Call(call) = &expression.expr else { return None };
    match (&*call.func_name, &*call.args) {
        (operators::LOGICAL_AND, [left, right]) => match (models(left), models(right)) {
            (Some(left), Some(right)) => Some(left.intersection(&right).cloned().collect()),
            (one, other) => one.or(other),
        },
        (operators::LOGICAL_OR, [left, right]) => {
            let (mut left, right) = (models(left)?, models(right)?);
            left.extend(right);
            Some(left)
        }
        (operators::EQUALS, [left, right]) => {
            let literal = if is_model(left) { text(right) } else { text(left) };
            let compared = is_model(left) || is_model(right);
            literal.filter(|_| compared).map(|literal| HashSet::from([literal]))
        }
        (operators::IN, [item, list]) if is_model(item) => {
            let Expr::List(list) = &list.expr else { return None };
            list.elements.iter().map(text).collect()
        }
        _ => None,
    }
}

fn is_model(expression: &IdedExpr) -> bool {
    matches!(&expression.expr, Expr::Ident(name) if name == "model")
}

fn text(expression: &IdedExpr) -> Option<Box<str>> {
    match &expression.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner().into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        Condition::compile(text).map(|_| ()).expect_err(text).to_string()
    }

    fn models_of(text: &str) -> Option<Vec<String>> {
        let condition = Condition::compile(text).unwrap();
        let mut models: Vec<_> = condition.models?.into_iter().map(str::into_string).collect();
        models.sort_unstable();
        Some(models)
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_reason() {
        for (text, reason) in [
            ("model ==", "Syntax error"),
            ("modle == 'x'", "`modle` is no variable"),
            ("model.startWith('x')", "no function `startWith`"),
            ("model", "a text, not true or false"),
            ("budget_used + 1.0", "a number, not true or false"),
            ("model == 3", "a text is compared with a number"),
            ("budget_used > '90'", "a number is compared with a text"),
            ("!model", "`!` takes a boolean, not a text"),
            ("model && true", "`&&` takes a boolean, not a text"),
            ("headers.contains('x')", "`contains` takes a text, not a map"),
            ("model.matches(provider)", "must be a literal"),
            ("model.matches('(')", "unclosed group"),
            ("model in 'x'", "`in` looks into a text"),
            ("model['x'] == 'y'", "a text has no entries"),
            ("Foo{a: 1} == 1", "no function `Foo`"),
        ] {
            assert!(fault(text).contains(reason), "{text}: {}", fault(text));
        }
        assert_eq!(fault(&" ".repeat(9000)), "longer than 8192 bytes");
        for deep in [
            "(".repeat(8000),
            "!".repeat(8000),
            "true ? true : ".repeat(500),
            format!("model{} == 'x'", " + 'x'".repeat(1000)),
        ] {
            assert!(!fault(&deep).is_empty());
        }
        let close = format!("{}true{}", "(".repeat(23), ")".repeat(23));
        assert!(Condition::compile(&close).is_ok());
        let long = format!("true{}", " || model == 'x'".repeat(400));
        assert!(Condition::compile(&long).is_ok(), "long is not deep");
    }

    #[test]
    fn rules_as_people_write_them_are_taken() {
        for text in [
            "",
            "  ",
            "model == \"sonnet-model\" && headers[\"user-agent\"].startsWith(\"claude-cli\")",
            "budget_used > 90.0 && request_type == \"chat_completion\"",
            "budget_used >= 90 || tokens_used > 80.0 || request > 50",
            "budget_used_in[\"1d\"] > 90.0",
            "!(provider in [\"openai\", \"azure\"]) && team_name != \"\"",
            "\"x-tenant\" in headers && headers[\"x-tenant\"] == \"a\"",
            "has(headers.authorization) ? params.tier == 'gold' : false",
            "headers.exists(name, name.startsWith('x-'))",
            "['a', 'b'].exists(m, model.contains(m))",
            "size(model) > 3 && model.matches('^gpt-[45]')",
            "complexity_tier == 'SIMPLE'",
        ] {
            assert!(Condition::compile(text).is_ok(), "{text}: {:?}", Condition::compile(text));
        }
    }

    #[test]
    fn the_models_of_a_rule_are_seen() {
        let some = |models: &[&str]| Some(models.iter().map(ToString::to_string).collect());
        assert_eq!(models_of("model == 'a'"), some(&["a"]));
        assert_eq!(models_of("'a' == model && budget_used > 1.0"), some(&["a"]));
        assert_eq!(models_of("model == 'a' || model in ['b', 'c']"), some(&["a", "b", "c"]));
        assert_eq!(models_of("model == 'a' && model == 'b'"), some(&[]));
        assert_eq!(models_of("model == 'a' || budget_used > 1.0"), None);
        assert_eq!(models_of("!(model == 'a')"), None);
        assert_eq!(models_of("model == provider"), None);
        assert_eq!(models_of("model in [provider]"), None);
        assert_eq!(models_of(""), None);
    }
}
