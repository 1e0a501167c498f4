//! The part of CEL that most rules are written in, evaluated without an interpreter.
//!
//! In: a checked expression. Out: the same expression as a [`Quick`] one, if it only compares
//! texts and figures; its value for a request is the one that CEL gives, errors included. Never:
//! guesses: what is not in this part is left to the `cel` crate.
//!
//! The logic is CEL's: `false && error` is false, `true || error` is true, in any order.

use super::facts::Facts;
use super::rule_text::{MATCHES, PATTERN, Pattern};
use cel::IdedExpr;
use cel::common::ast::{CallExpr, Expr, LiteralValue, operators};
use std::cmp::Ordering;

/// A condition. `None` as a value is CEL's error.
#[derive(Debug)]
pub(super) enum Quick {
    Is(bool),
    Same(Text, Text),
    OneOf(Text, Box<[Box<str>]>),
    Has(Map, Box<str>),
    Starts(Text, Text),
    Ends(Text, Text),
    Contains(Text, Text),
    /// The place of the pattern.
    Matches(Text, usize),
    /// The figure, and how it may compare with the number.
    Compare(Figure, &'static [Ordering], f64),
    Not(Box<Self>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    If(Box<Self>, Box<Self>, Box<Self>),
}

#[derive(Debug)]
pub(super) enum Text {
    Literal(Box<str>),
    Variable(for<'f> fn(&'f Facts<'_>) -> Option<&'f str>),
    Of(Map, Box<str>),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Map {
    Headers,
    Params,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Figure {
    Budget,
    Tokens,
    Requests,
}

impl Quick {
    pub(super) fn of(expression: &IdedExpr) -> Option<Self> {
        match &expression.expr {
            Expr::Literal(LiteralValue::Boolean(value)) => Some(Self::Is(*value.inner())),
            Expr::Select(select) if select.test => {
                Some(Self::Has(map(&select.operand)?, select.field.as_str().into()))
            }
            Expr::Call(call) => Self::of_call(call),
            _ => None,
        }
    }

    fn of_call(call: &CallExpr) -> Option<Self> {
        let boxed = |expression| Self::of(expression).map(Box::new);
        match (&*call.func_name, call.target.as_deref(), &*call.args) {
            (operators::LOGICAL_AND, None, [left, right]) => {
                Some(Self::And(boxed(left)?, boxed(right)?))
            }
            (operators::LOGICAL_OR, None, [left, right]) => {
                Some(Self::Or(boxed(left)?, boxed(right)?))
            }
            (operators::LOGICAL_NOT, None, [one]) => Some(Self::Not(boxed(one)?)),
            (operators::CONDITIONAL, None, [test, yes, no]) => {
                Some(Self::If(boxed(test)?, boxed(yes)?, boxed(no)?))
            }
            (operators::EQUALS, None, [left, right]) => Some(Self::Same(text(left)?, text(right)?)),
            (operators::NOT_EQUALS, None, [left, right]) => {
                Some(Self::Not(Box::new(Self::Same(text(left)?, text(right)?))))
            }
            (operators::IN, None, [item, container]) => match (&container.expr, text(item)?) {
                (Expr::List(list), item) => {
                    let literals = list.elements.iter().map(literal);
                    Some(Self::OneOf(item, literals.collect::<Option<_>>()?))
                }
                (_, Text::Literal(name)) => Some(Self::Has(map(container)?, name)),
                _ => None,
            },
            ("startsWith", Some(whole), [part]) => Some(Self::Starts(text(whole)?, text(part)?)),
            ("endsWith", Some(whole), [part]) => Some(Self::Ends(text(whole)?, text(part)?)),
            ("contains", Some(whole), [part]) => Some(Self::Contains(text(whole)?, text(part)?)),
            (MATCHES, None, [whole, pattern]) => {
                let Expr::Ident(name) = &pattern.expr else { return None };
                Some(Self::Matches(text(whole)?, name.strip_prefix(PATTERN)?.parse().ok()?))
            }
            (operator, None, [left, right]) => {
                use Ordering::{Equal, Greater, Less};
                let fits: &'static [Ordering] = match operator {
                    operators::LESS => &[Less],
                    operators::LESS_EQUALS => &[Less, Equal],
                    operators::GREATER => &[Greater],
                    operators::GREATER_EQUALS => &[Greater, Equal],
                    _ => return None,
                };
                Some(Self::Compare(figure(left)?, fits, number(right)?))
            }
            _ => None,
        }
    }

    /// The value for these facts; `None` where CEL has an error.
    pub(super) fn value(&self, facts: &Facts<'_>, patterns: &[Pattern]) -> Option<bool> {
        match self {
            Self::Is(value) => Some(*value),
            Self::Same(left, right) => Some(left.of(facts)? == right.of(facts)?),
            Self::OneOf(item, list) => {
                let item = item.of(facts)?;
                Some(list.iter().any(|known| **known == *item))
            }
            Self::Has(map, name) => Some(map.get(facts, name).is_some()),
            Self::Starts(whole, part) => Some(whole.of(facts)?.starts_with(part.of(facts)?)),
            Self::Ends(whole, part) => Some(whole.of(facts)?.ends_with(part.of(facts)?)),
            Self::Contains(whole, part) => Some(whole.of(facts)?.contains(part.of(facts)?)),
            Self::Matches(whole, at) => {
                let Pattern(pattern) = patterns.get(*at)?;
                Some(pattern.is_match(whole.of(facts)?))
            }
            Self::Compare(figure, fits, number) => {
                Some(fits.contains(&figure.of(facts).partial_cmp(number)?))
            }
            Self::Not(one) => one.value(facts, patterns).map(|value| !value),
            Self::And(left, right) => match left.value(facts, patterns) {
                Some(false) => Some(false),
                left => match right.value(facts, patterns) {
                    Some(false) => Some(false),
                    right => left.and(right),
                },
            },
            Self::Or(left, right) => match left.value(facts, patterns) {
                Some(true) => Some(true),
                left => match right.value(facts, patterns) {
                    Some(true) => Some(true),
                    right => left.and(right),
                },
            },
            Self::If(test, yes, no) => {
                if test.value(facts, patterns)? {
                    yes.value(facts, patterns)
                } else {
                    no.value(facts, patterns)
                }
            }
        }
    }
}

impl Text {
    fn of<'f>(&'f self, facts: &'f Facts<'_>) -> Option<&'f str> {
        match self {
            Self::Literal(text) => Some(text),
            Self::Variable(read) => read(facts),
            Self::Of(map, name) => map.get(facts, name),
        }
    }
}

impl Map {
    fn get<'f>(self, facts: &'f Facts<'_>, name: &str) -> Option<&'f str> {
        match self {
            Self::Headers => facts.headers.get(name),
            Self::Params => facts.params.get(name),
        }
    }
}

impl Figure {
    fn of(self, facts: &Facts<'_>) -> f64 {
        let (provider, model) = (facts.provider, facts.model);
        match self {
            Self::Budget => facts.standing.budget_used(provider, model),
            Self::Tokens => facts.standing.tokens_used(provider, model),
            Self::Requests => facts.standing.requests_used(provider, model),
        }
    }
}

fn text(expression: &IdedExpr) -> Option<Text> {
    match &expression.expr {
        Expr::Literal(_) => literal(expression).map(Text::Literal),
        Expr::Ident(name) => Some(Text::Variable(match &**name {
            "model" => |facts| Some(facts.model),
            "provider" => |facts| Some(facts.provider),
            "request_type" => |facts| Some(facts.request_type),
            "virtual_key_id" => |facts| Some(facts.caller.virtual_key.id),
            "virtual_key_name" => |facts| Some(facts.caller.virtual_key.name),
            "team_id" => |facts| Some(facts.caller.team.id),
            "team_name" => |facts| Some(facts.caller.team.name),
            "customer_id" => |facts| Some(facts.caller.customer.id),
            "customer_name" => |facts| Some(facts.caller.customer.name),
            "complexity_tier" => |facts| facts.complexity_tier,
            _ => return None,
        })),
        Expr::Select(select) if !select.test => {
            Some(Text::Of(map(&select.operand)?, select.field.as_str().into()))
        }
        Expr::Call(call) if call.func_name == operators::INDEX => match &*call.args {
            [container, name] => Some(Text::Of(map(container)?, literal(name)?)),
            _ => None,
        },
        _ => None,
    }
}

fn literal(expression: &IdedExpr) -> Option<Box<str>> {
    match &expression.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner().into()),
        _ => None,
    }
}

fn map(expression: &IdedExpr) -> Option<Map> {
    match &expression.expr {
        Expr::Ident(name) if name == "headers" => Some(Map::Headers),
        Expr::Ident(name) if name == "params" => Some(Map::Params),
        _ => None,
    }
}

fn figure(expression: &IdedExpr) -> Option<Figure> {
    match &expression.expr {
        Expr::Ident(name) => match &**name {
            "budget_used" => Some(Figure::Budget),
            "tokens_used" => Some(Figure::Tokens),
            "request" => Some(Figure::Requests),
            _ => None,
        },
        _ => None,
    }
}

fn number(expression: &IdedExpr) -> Option<f64> {
    match &expression.expr {
        Expr::Literal(LiteralValue::Double(number)) => Some(*number.inner()),
        Expr::Literal(LiteralValue::Int(number)) => {
            i32::try_from(*number.inner()).ok().map(f64::from)
        }
        _ => None,
    }
}
