//! What a routing rule may ask of a request, as CEL values that are made when they are asked for.
//!
//! In: the request's own strings, borrowed, and figures of its limits. Out: the variables of a
//! rule. Figures and maps cost nothing to a rule that does not name them. Never: copies a header.

use super::rule_text::{Condition, MATCHES, PATTERN, Pattern};
use cel::common::traits::{Container, Indexer};
use cel::common::types::{ANY_TYPE, CelBool, CelDouble, CelMap, CelMapKey, CelString, MAP_TYPE};
use cel::common::types::{STRING_TYPE, Type};
use cel::common::value::{CowVal, StaticVal, Val};
use cel::context::VariableResolver;
use cel::{Context, Env, ExecutionError, Value};
use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// Headers or parameters: names in lower case, of several equal ones the first.
pub trait Fields: Sync {
    fn get(&self, name: &str) -> Option<&str>;
    fn each(&self, see: &mut dyn FnMut(&str, &str));
}

impl Fields for [(&str, &str)] {
    fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    fn each(&self, see: &mut dyn FnMut(&str, &str)) {
        for (name, value) in self {
            see(name, value);
        }
    }
}

impl<const N: usize> Fields for [(&str, &str); N] {
    fn get(&self, name: &str) -> Option<&str> {
        Fields::get(self.as_slice(), name)
    }

    fn each(&self, see: &mut dyn FnMut(&str, &str)) {
        Fields::each(self.as_slice(), see);
    }
}

/// How much of its limits a request has used, in percent; 0 without any. Asked only by rules that
/// name the figure.
pub trait Standing: Sync {
    fn budget_used(&self, provider: &str, model: &str) -> f64;
    fn tokens_used(&self, provider: &str, model: &str) -> f64;
    fn requests_used(&self, provider: &str, model: &str) -> f64;
    /// By reset duration (`1d`).
    fn budget_used_in(&self, provider: &str, model: &str) -> Vec<(String, f64)>;
}

/// A caller without limits.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoLimits;

impl Standing for NoLimits {
    fn budget_used(&self, _: &str, _: &str) -> f64 {
        0.0
    }

    fn tokens_used(&self, _: &str, _: &str) -> f64 {
        0.0
    }

    fn requests_used(&self, _: &str, _: &str) -> f64 {
        0.0
    }

    fn budget_used_in(&self, _: &str, _: &str) -> Vec<(String, f64)> {
        Vec::new()
    }
}

/// Somebody with an id and a name.
#[derive(Debug, Clone, Copy, Default)]
pub struct Named<'a> {
    pub id: &'a str,
    pub name: &'a str,
}

/// Whose request it is; empty names where there is nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Caller<'a> {
    pub virtual_key: Named<'a>,
    pub team: Named<'a>,
    pub customer: Named<'a>,
}

/// What rules are asked about.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// Without its `provider/`.
    pub model: &'a str,
    /// The prefix, or the native provider of the integration.
    pub provider: &'a str,
    /// `chat_completion`, `responses`, …; without `_stream`.
    pub request_type: &'a str,
    pub headers: &'a dyn Fields,
    pub params: &'a dyn Fields,
    pub caller: Caller<'a>,
    pub standing: &'a dyn Standing,
    /// `SIMPLE`, `MEDIUM` or `COMPLEX`; a rule that names it is false where it is not known.
    pub complexity_tier: Option<&'a str>,
}

/// What CEL has to know: its functions, and ours.
pub(super) fn environment() -> Env {
    let mut env = Env::stdlib();
    // Names with an `@` are ours alone, so this cannot collide.
    let _ = env.add_overload(MATCHES, MATCHES, vec![STRING_TYPE, ANY_TYPE], |args| {
        let text = args.first().and_then(|text| text.downcast_ref::<CelString<'_>>());
        let pattern = args.get(1).and_then(|pattern| pattern.downcast_ref::<Pattern>());
        match (text, pattern) {
            (Some(text), Some(Pattern(pattern))) => {
                Ok(CowVal::owned(CelBool::from(pattern.is_match(text.inner()))))
            }
            _ => Err(ExecutionError::missing_argument_or_target()),
        }
    });
    env
}

impl Condition {
    /// Whether it holds. What cannot be evaluated does not hold (a header that is missing).
    pub fn holds(&self, env: &Arc<Env>, facts: &Facts<'_>) -> bool {
        let value = match &self.quick {
            Some(quick) => quick.value(facts, &self.patterns),
            None => self.value(env, facts),
        };
        value == Some(true)
    }

    /// By the interpreter; `None` for an error.
    pub(super) fn value(&self, env: &Arc<Env>, facts: &Facts<'_>) -> Option<bool> {
        let variables = Variables::of(facts, self);
        let mut context = Context::with_env(Arc::clone(env));
        context.set_variable_resolver(&variables);
        let value = Value::resolve_val(&self.expression, &context).ok()?;
        value.downcast_ref::<CelBool>().map(|value| *value.inner())
    }
}

/// The facts as values.
struct Variables<'a> {
    facts: &'a Facts<'a>,
    condition: &'a Condition,
    model: CelString<'a>,
    provider: CelString<'a>,
    request_type: CelString<'a>,
    headers: Map<'a>,
    params: Map<'a>,
}

impl<'a> Variables<'a> {
    fn of(facts: &'a Facts<'a>, condition: &'a Condition) -> Self {
        Self {
            facts,
            condition,
            model: CelString::from(facts.model),
            provider: CelString::from(facts.provider),
            request_type: CelString::from(facts.request_type),
            headers: Map(facts.headers),
            params: Map(facts.params),
        }
    }

    fn map<'b>(&'b self, map: &'b Map<'a>) -> CowVal<'b, 'b> {
        if self.condition.whole_maps { CowVal::owned(map.whole()) } else { CowVal::Borrowed(map) }
    }
}

fn text(text: &str) -> CowVal<'_, '_> {
    CowVal::owned(CelString::from(text))
}

fn number<'b>(number: f64) -> CowVal<'b, 'b> {
    CowVal::owned(CelDouble::from(number))
}

impl VariableResolver for Variables<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        let Facts { model, provider, caller, standing, .. } = self.facts;
        Some(match variable {
            "model" => CowVal::Borrowed(&self.model),
            "provider" => CowVal::Borrowed(&self.provider),
            "request_type" => CowVal::Borrowed(&self.request_type),
            "headers" => self.map(&self.headers),
            "params" => self.map(&self.params),
            "virtual_key_id" => text(caller.virtual_key.id),
            "virtual_key_name" => text(caller.virtual_key.name),
            "team_id" => text(caller.team.id),
            "team_name" => text(caller.team.name),
            "customer_id" => text(caller.customer.id),
            "customer_name" => text(caller.customer.name),
            "budget_used" => number(standing.budget_used(provider, model)),
            "tokens_used" => number(standing.tokens_used(provider, model)),
            "request" => number(standing.requests_used(provider, model)),
            "budget_used_in" => {
                let spans = standing.budget_used_in(provider, model);
                let entries = spans.into_iter().map(|(span, percent)| {
                    let value: Box<dyn Val> = Box::new(CelDouble::from(percent));
                    (CelMapKey::from(span), value)
                });
                CowVal::owned(CelMap::from(entries.collect::<HashMap<_, _>>()))
            }
            "complexity_tier" => text(self.facts.complexity_tier?),
            _ => {
                let number: usize = variable.strip_prefix(PATTERN)?.parse().ok()?;
                CowVal::Borrowed(self.condition.patterns.get(number)?)
            }
        })
    }
}

impl Val for Pattern {
    fn get_type(&self) -> &Type {
        &ANY_TYPE
    }

    fn cel_type() -> &'static Type {
        &ANY_TYPE
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Pattern {}

/// Headers or parameters, looked into by name.
#[derive(Clone, Copy)]
struct Map<'a>(&'a dyn Fields);

impl fmt::Debug for Map<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[fields]")
    }
}

impl<'a> Map<'a> {
    fn get_by(&self, name: &dyn Val) -> Result<CelString<'a>, ExecutionError> {
        let Some(name) = name.downcast_ref::<CelString<'_>>() else {
            return Err(ExecutionError::missing_argument_or_target());
        };
        let value = self.0.get(name.inner());
        value.map(CelString::from).ok_or_else(|| ExecutionError::no_such_key(name.inner()))
    }

    /// A copy that can be gone through and counted.
    fn whole<'v>(&self) -> CelMap<'v> {
        let mut map: HashMap<CelMapKey<'v>, Box<dyn Val + 'v>> = HashMap::new();
        self.0.each(&mut |name, value| {
            let key = CelMapKey::from(name.to_owned());
            let value: Box<dyn Val + 'v> = Box::new(CelString::from(value.to_owned()));
            map.entry(key).or_insert(value);
        });
        CelMap::from(map)
    }
}

impl Val for Map<'_> {
    fn get_type(&self) -> &Type {
        &MAP_TYPE
    }

    fn cel_type() -> &'static Type {
        &MAP_TYPE
    }

    fn as_container(&self) -> Option<&dyn Container> {
        Some(self)
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(*self)
    }
}

impl Container for Map<'_> {
    fn contains(&self, name: &dyn Val) -> Result<bool, ExecutionError> {
        Ok(self.get_by(name).is_ok())
    }
}

impl Indexer for Map<'_> {
    fn get<'b, 'v>(&'b self, name: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get_by(name).map(CowVal::owned)
    }

    fn steal<'v>(self: Box<Self>, name: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let value = self.get_by(name)?;
        Ok(Box::new(value))
    }
}
