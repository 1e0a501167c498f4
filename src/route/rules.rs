//! Routing rules: which of them a request matches, and where that one sends it.
//!
//! In: [`RulePlan`]s, compiled and indexed once per snapshot; the [`Facts`] of a request and a
//! random number. Out: the provider, model, key and fallbacks of the last rule that matched.
//!
//! Scopes are asked in the order virtual key, team, customer, global; in each, ascending priority,
//! and of equal ones the first written; the first that holds decides. A chaining rule has the
//! rules asked again with its provider and model, until none holds, one that ends the chain does,
//! a provider and model come back, or the chain is too long. Rules that can only hold for certain
//! models are found by the model, so that a thousand of them are not a thousand evaluations.
//! Never: evaluates a rule whose outcome is known, or fails: a rule that cannot be evaluated does
//! not hold.

use super::facts::{Facts, environment};
use super::rule_text::Condition;
use super::{Fault, KeyPin, Random};
use cel::Env;
use hashbrown::HashMap;
use smallvec::SmallVec;
use std::sync::Arc;

/// Longest chain that can be configured.
const MAX_CHAIN: u32 = 100;

/// A rule as the configuration has it.
#[derive(Debug, Clone, Default)]
pub struct RulePlan {
    pub id: Box<str>,
    pub name: Box<str>,
    /// Checked, and then not used.
    pub disabled: bool,
    pub scope: Scope,
    /// Lower comes first.
    pub priority: i64,
    /// CEL; empty is always.
    pub expression: Box<str>,
    /// Go on with the rules after this one.
    pub chain: bool,
    pub targets: Vec<RuleTarget>,
    pub fallbacks: Vec<Fallback>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Scope {
    #[default]
    Global,
    /// By id, as the others.
    Customer(Box<str>),
    Team(Box<str>),
    VirtualKey(Box<str>),
}

/// One of the places that a rule may draw.
#[derive(Debug, Clone, Default)]
pub struct RuleTarget {
    /// `None`: as the request has it.
    pub provider: Option<Box<str>>,
    pub model: Option<Box<str>>,
    pub key: Option<KeyPin>,
    /// 0 or above; all 0: each as likely as the others.
    pub weight: f64,
}

/// Where to go when all else failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fallback {
    pub provider: Box<str>,
    /// `None`: the model that failed.
    pub model: Option<Box<str>>,
    pub key: Option<KeyPin>,
}

/// A rule, compiled.
#[derive(Debug)]
pub struct Rule {
    pub id: Box<str>,
    pub name: Box<str>,
    /// As it was written.
    pub expression: Box<str>,
    pub priority: i64,
    pub chain: bool,
    pub targets: Box<[RuleTarget]>,
    pub fallbacks: Box<[Fallback]>,
    condition: Condition,
}

/// The rules of one scope, in order.
#[derive(Debug, Default)]
struct Group {
    rules: Vec<Rule>,
    /// Places in `rules`, ascending, of those that hold only for this model.
    by_model: HashMap<Box<str>, Vec<u32>>,
    /// Of those that may hold for any.
    rest: Vec<u32>,
}

/// All rules.
pub struct Rules {
    env: Arc<Env>,
    global: Group,
    customers: HashMap<Box<str>, Group>,
    teams: HashMap<Box<str>, Group>,
    virtual_keys: HashMap<Box<str>, Group>,
    max_chain: u32,
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rules").field("global", &self.global.rules.len()).finish_non_exhaustive()
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            env: Arc::new(environment()),
            global: Group::default(),
            customers: HashMap::new(),
            teams: HashMap::new(),
            virtual_keys: HashMap::new(),
            max_chain: 10,
        }
    }
}

/// What the rules decided.
#[derive(Debug, Clone)]
pub struct Ruling<'a> {
    /// The last rule that matched: it decides.
    pub rule: &'a Rule,
    /// All that matched, in order.
    pub chain: SmallVec<[&'a Rule; 2]>,
    /// `None`: as the request has it.
    pub provider: Option<&'a str>,
    pub model: Option<&'a str>,
    pub key: Option<&'a KeyPin>,
}

impl Rules {
    /// Faults name the rule's place in `plans`; disabled rules are checked like the others.
    pub fn build(plans: Vec<RulePlan>, max_chain: u32) -> Result<Self, Vec<Fault>> {
        let mut rules = Self { max_chain: max_chain.clamp(1, MAX_CHAIN), ..Self::default() };
        let mut faults = Vec::new();
        let mut ordered: Vec<(usize, RulePlan)> = plans.into_iter().enumerate().collect();
        ordered.sort_by_key(|(at, plan)| (plan.priority, *at));
        for (at, plan) in ordered {
            let (scope, disabled) = (plan.scope.clone(), plan.disabled);
            match Rule::compile(plan) {
                Ok(_) if disabled => {}
                Ok(rule) => rules.group_of(scope).push(rule),
                Err((field, message)) => {
                    let path = format!("routing_rules[{at}].{field}");
                    faults.push(Fault { path, message });
                }
            }
        }
        if faults.is_empty() { Ok(rules) } else { Err(faults) }
    }

    fn group_of(&mut self, scope: Scope) -> &mut Group {
        match scope {
            Scope::Global => &mut self.global,
            Scope::Customer(id) => self.customers.entry(id).or_default(),
            Scope::Team(id) => self.teams.entry(id).or_default(),
            Scope::VirtualKey(id) => self.virtual_keys.entry(id).or_default(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.global.rules.is_empty()
            && self.customers.is_empty()
            && self.teams.is_empty()
            && self.virtual_keys.is_empty()
    }

    /// What the rules make of a request; `None` where none holds.
    pub fn apply<'r: 'a, 'a>(&'r self, facts: &Facts<'a>, random: Random) -> Option<Ruling<'r>> {
        if self.is_empty() {
            return None;
        }
        let mut seen: SmallVec<[(&str, &str); 4]> = SmallVec::new();
        seen.push((facts.provider, facts.model));
        let mut facts = *facts;
        let mut ruling: Option<Ruling<'r>> = None;
        for step in 0..self.max_chain {
            let Some(rule) = self.first(&facts) else { break };
            let target = rule.draw(random.nth(step));
            let (provider, model) = (
                target.and_then(|target| target.provider.as_deref()),
                target.and_then(|target| target.model.as_deref()),
            );
            let mut next = Ruling {
                rule,
                chain: SmallVec::new(),
                provider,
                model,
                key: target.and_then(|target| target.key.as_ref()),
            };
            if let Some(before) = ruling {
                next.chain = before.chain;
                next.provider = next.provider.or(before.provider);
                next.model = next.model.or(before.model);
            }
            next.chain.push(rule);
            facts.provider = provider.unwrap_or(facts.provider);
            facts.model = model.unwrap_or(facts.model);
            ruling = Some(next);
            let place = (facts.provider, facts.model);
            if !rule.chain || seen.contains(&place) {
                break;
            }
            seen.push(place);
        }
        ruling
    }

    fn first(&self, facts: &Facts<'_>) -> Option<&Rule> {
        self.groups(facts).into_iter().flatten().find_map(|group| group.first(&self.env, facts))
    }

    fn groups(&self, facts: &Facts<'_>) -> [Option<&Group>; 4] {
        let caller = &facts.caller;
        [
            group(&self.virtual_keys, caller.virtual_key.id),
            group(&self.teams, caller.team.id),
            group(&self.customers, caller.customer.id),
            Some(&self.global),
        ]
    }
}

/// Nobody has no rules.
fn group<'r>(groups: &'r HashMap<Box<str>, Group>, id: &str) -> Option<&'r Group> {
    if id.is_empty() { None } else { groups.get(id) }
}

impl Group {
    fn push(&mut self, rule: Rule) {
        let Ok(place) = u32::try_from(self.rules.len()) else { return };
        match &rule.condition.models {
            Some(models) => {
                for model in models {
                    self.by_model.entry(model.clone()).or_default().push(place);
                }
            }
            None => self.rest.push(place),
        }
        self.rules.push(rule);
    }

    /// Of those that can hold for the model, the first that does: two ascending lists, merged.
    fn first(&self, env: &Arc<Env>, facts: &Facts<'_>) -> Option<&Rule> {
        let named = self.by_model.get(facts.model).map_or(&[][..], Vec::as_slice);
        let (mut named, mut rest) = (named.iter().peekable(), self.rest.iter().peekable());
        loop {
            let place = match (named.peek(), rest.peek()) {
                (Some(one), Some(other)) if one < other => named.next(),
                (_, Some(_)) => rest.next(),
                (_, None) => named.next(),
            };
            let rule = self.rules.get(usize::try_from(*place?).ok()?)?;
            if rule.condition.holds(env, facts) {
                return Some(rule);
            }
        }
    }
}

impl Rule {
    fn compile(plan: RulePlan) -> Result<Self, (&'static str, String)> {
        let condition = Condition::compile(&plan.expression)
            .map_err(|bad| ("cel_expression", format!("rule `{}`: {bad}", plan.name)))?;
        if plan.targets.iter().any(|target| !target.weight.is_finite() || target.weight < 0.0) {
            return Err(("targets", format!("rule `{}`: weights are 0 or above", plan.name)));
        }
        if plan.targets.is_empty() && plan.fallbacks.is_empty() {
            return Err(("targets", format!("rule `{}` leads nowhere", plan.name)));
        }
        Ok(Self {
            id: plan.id,
            name: plan.name,
            expression: plan.expression,
            priority: plan.priority,
            chain: plan.chain,
            targets: plan.targets.into(),
            fallbacks: plan.fallbacks.into(),
            condition,
        })
    }

    fn draw(&self, random: Random) -> Option<&RuleTarget> {
        random.draw(&self.targets, |target| target.weight)
    }
}

#[cfg(test)]
mod tests {
    use super::super::facts::{Caller, Named, NoLimits, Standing};
    use super::*;

    fn rule(name: &str, expression: &str, to: &str) -> RulePlan {
        let (provider, model) = to.split_once('/').unwrap();
        let part = |text: &str| (!text.is_empty()).then(|| text.into());
        RulePlan {
            id: name.into(),
            name: name.into(),
            expression: expression.into(),
            targets: vec![RuleTarget {
                provider: part(provider),
                model: part(model),
                key: None,
                weight: 1.0,
            }],
            ..RulePlan::default()
        }
    }

    fn facts<'a>(model: &'a str, headers: &'a [(&'a str, &'a str); 1]) -> Facts<'a> {
        Facts {
            model,
            provider: "anthropic",
            request_type: "chat_completion",
            headers,
            params: &[] as &[(&str, &str); 0],
            caller: Caller {
                virtual_key: Named { id: "vk", name: "claude-code" },
                team: Named { id: "ml", name: "ML" },
                customer: Named::default(),
            },
            standing: &NoLimits,
            complexity_tier: None,
        }
    }

    fn outcome(plans: Vec<RulePlan>, facts: &Facts<'_>) -> Option<(String, String)> {
        let rules = Rules::build(plans, 10).unwrap();
        let ruling = rules.apply(facts, Random::new(7))?;
        let provider = ruling.provider.unwrap_or(facts.provider);
        Some((ruling.rule.name.to_string(), format!("{provider}/{}", ruling.model.unwrap_or("="))))
    }

    const CLI: [(&str, &str); 1] = [("user-agent", "claude-cli/2.1.143")];

    #[test]
    fn the_claude_code_case() {
        let when = |model: &str| {
            format!("model == \"{model}\" && headers[\"user-agent\"].startsWith(\"claude-cli\")")
        };
        let plans = || {
            vec![
                rule("sonnet", &when("sonnet-model"), "vertex/claude-sonnet-4-6"),
                rule("haiku", &when("haiku-model"), "vertex/claude-haiku-4-5"),
            ]
        };
        let hit = outcome(plans(), &facts("sonnet-model", &CLI)).unwrap();
        assert_eq!(hit.1, "vertex/claude-sonnet-4-6");
        assert_eq!(outcome(plans(), &facts("haiku-model", &CLI)).unwrap().0, "haiku");
        assert_eq!(outcome(plans(), &facts("opus-model", &CLI)), None);
        let other = [("user-agent", "curl/8")];
        assert_eq!(outcome(plans(), &facts("sonnet-model", &other)), None);
        let missing = [("accept", "*/*")];
        assert_eq!(outcome(plans(), &facts("sonnet-model", &missing)), None, "not an error");
    }

    #[test]
    fn scopes_then_priorities_then_places_decide() {
        let scoped = |name: &str, scope: Scope, priority: i64| RulePlan {
            scope,
            priority,
            ..rule(name, "model == 'm'", "p/")
        };
        let mut plans = vec![
            scoped("global-late", Scope::Global, 5),
            scoped("global-a", Scope::Global, -1),
            scoped("global-b", Scope::Global, -1),
            scoped("other-team", Scope::Team("sales".into()), 0),
            scoped("team", Scope::Team("ml".into()), 9),
            scoped("key", Scope::VirtualKey("vk".into()), 99),
        ];
        for expected in ["key", "team", "global-a", "global-b", "global-late"] {
            let hit = outcome(plans.clone(), &facts("m", &CLI)).unwrap();
            assert_eq!(hit.0, expected);
            plans.retain(|plan| &*plan.name != expected);
        }
        assert_eq!(outcome(plans, &facts("m", &CLI)), None, "another team's rule");
    }

    #[test]
    fn chains_go_on_until_they_end() {
        let chain = |name: &str, expression: &str, to: &str| RulePlan {
            chain: true,
            ..rule(name, expression, to)
        };
        let plans = vec![
            chain("1", "model == 'a'", "/b"),
            chain("2", "model == 'b'", "openai/c"),
            rule("3", "model == 'c' && provider == 'openai'", "azure/"),
            rule("4", "model == 'c'", "never/x"),
        ];
        assert_eq!(outcome(plans, &facts("a", &CLI)).unwrap(), ("3".into(), "azure/c".into()));
        let endless = vec![chain("ab", "model == 'a'", "/b"), chain("ba", "model == 'b'", "/a")];
        assert_eq!(outcome(endless, &facts("a", &CLI)).unwrap().0, "ba", "a came back");
        let growing: Vec<_> = (0..50)
            .map(|n| chain(&n.to_string(), &format!("model == '{n}'"), &format!("/{}", n + 1)))
            .collect();
        let end = outcome(growing, &facts("0", &CLI)).unwrap();
        assert_eq!(end.1, "anthropic/10", "ten rules at most");
    }

    #[test]
    fn figures_are_only_asked_for_by_rules_that_name_them() {
        struct Used;
        impl Standing for Used {
            fn budget_used(&self, provider: &str, model: &str) -> f64 {
                assert_eq!((provider, model), ("anthropic", "m"));
                91.5
            }
            fn tokens_used(&self, _: &str, _: &str) -> f64 {
                panic!("no rule asked for it")
            }
            fn requests_used(&self, _: &str, _: &str) -> f64 {
                50.0
            }
            fn budget_used_in(&self, _: &str, _: &str) -> Vec<(String, f64)> {
                vec![("1d".to_owned(), 12.0)]
            }
        }
        let holds = |expression: &str| {
            let facts = Facts { standing: &Used, ..facts("m", &CLI) };
            outcome(vec![rule("r", expression, "p/")], &facts).is_some()
        };
        assert!(holds("budget_used > 90.0"));
        assert!(holds("budget_used > 90"), "whole numbers compare, too");
        assert!(!holds("budget_used > 92.0"));
        assert!(holds("request == 50.0 && budget_used_in['1d'] < 13.0"));
        assert!(!holds("budget_used_in['1M'] >= 0.0"), "no such budget");
        assert!(holds("budget_used_in.size() == 1"));
        assert!(!holds("complexity_tier == 'SIMPLE'") && !holds("complexity_tier != 'SIMPLE'"));
    }

    #[test]
    fn headers_are_looked_into_in_every_way() {
        let holds = |expression: &str| {
            outcome(vec![rule("r", expression, "p/")], &facts("m", &CLI)).is_some()
        };
        assert!(holds("headers['user-agent'].matches('^claude-cli/2[.]')"));
        assert!(!holds("headers['user-agent'].matches('^cli')"));
        assert!(holds("'user-agent' in headers && !('x-none' in headers)"));
        assert!(holds("has(headers.accept) || size(headers) == 1"));
        assert!(holds("headers.exists(name, name.startsWith('user-'))"));
        assert!(!holds("headers['x-none'] == ''"));
        assert!(holds("headers['x-none'] == 'x' || model == 'm'"), "CEL absorbs the error");
        assert!(holds("team_name == 'ML' && customer_id == '' && virtual_key_id == 'vk'"));
    }

    #[test]
    fn a_bad_rule_is_named_with_its_place() {
        let mut plans = vec![rule("ok", "", "p/"), rule("broken", "model =", "p/")];
        plans.push(RulePlan { targets: Vec::new(), ..rule("nowhere", "", "p/") });
        let faults = Rules::build(plans, 10).unwrap_err();
        let paths: Vec<_> = faults.iter().map(|fault| &*fault.path).collect();
        assert_eq!(paths, ["routing_rules[1].cel_expression", "routing_rules[2].targets"]);
        assert!(faults[0].message.contains("broken"), "{}", faults[0].message);
    }

    #[test]
    fn rules_as_people_write_them_need_no_interpreter() {
        for (text, quick) in [
            ("model == \"a\" && headers[\"user-agent\"].startsWith(\"claude-cli\")", true),
            ("budget_used > 90.0 && request_type == \"chat_completion\"", true),
            ("!(provider in ['openai', 'azure']) || has(params.tier)", true),
            ("size(model) > 3", false),
            ("headers.exists(name, name.startsWith('x-'))", false),
        ] {
            assert_eq!(Condition::compile(text).unwrap().quick.is_some(), quick, "{text}");
        }
    }

    /// Expressions over a small world, so that rules often hold.
    fn expressions() -> impl proptest::strategy::Strategy<Value = String> {
        use proptest::prelude::*;
        let leaf = prop_oneof![
            "[abc]".prop_map(|model| format!("model == '{model}'")),
            "[abc]".prop_map(|model| format!("'{model}' == model")),
            "[abc]{2}".prop_map(|two| {
                let (one, other) = two.split_at(1);
                format!("model in ['{one}', '{other}']")
            }),
            "[abc]".prop_map(|model| format!("model != '{model}'")),
            Just("headers['user-agent'].startsWith('claude')".to_owned()),
            Just("headers['x-none'] == 'y'".to_owned()),
            (0_usize..4, -1_i8..2).prop_map(|(operator, number)| {
                format!("budget_used {} {number}", ["<", "<=", ">", ">="][operator])
            }),
            "[abc]".prop_map(|text| format!("headers['user-agent'].contains('{text}')")),
            "[abc]".prop_map(|text| format!("model.matches('^[{text}d]$')")),
            Just("model.endsWith(headers['x-none'])".to_owned()),
            Just("has(headers.accept) != false".to_owned()),
            Just("'user-agent' in headers".to_owned()),
            Just("headers['user-agent'] in ['x', 'claude-cli/2.1.143']".to_owned()),
            Just("complexity_tier == 'SIMPLE'".to_owned()),
            Just("team_name == 'ML' && customer_id == ''".to_owned()),
            Just("true".to_owned()),
        ];
        leaf.prop_recursive(3, 12, 2, |inner| {
            prop_oneof![
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) && ({b})")),
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) || ({b})")),
                inner.clone().prop_map(|a| format!("!({a})")),
                (inner.clone(), inner.clone(), inner)
                    .prop_map(|(a, b, c)| format!("({a}) ? ({b}) : ({c})")),
            ]
        })
    }

    proptest::proptest! {
        /// The index by model changes nothing but the time it takes.
        #[test]
        fn the_index_finds_what_going_through_all_rules_finds(
            expressions in proptest::collection::vec(expressions(), 1..12),
            model in "[abcd]",
        ) {
            let named = |(at, text): (usize, &String)| rule(&at.to_string(), text, "p/");
            let plans = expressions.iter().enumerate().map(named).collect();
            let rules = Rules::build(plans, 10).unwrap();
            let facts = facts(&model, &CLI);
            let one_by_one =
                rules.global.rules.iter().find(|rule| rule.condition.holds(&rules.env, &facts));
            let indexed = rules.global.first(&rules.env, &facts);
            proptest::prop_assert_eq!(
                indexed.map(|rule| &*rule.name), one_by_one.map(|rule| &*rule.name)
            );
        }

        /// What is evaluated without the interpreter has the interpreter's value, or its error.
        #[test]
        fn quick_conditions_agree_with_the_interpreter(
            expression in expressions(), model in "[abcd]",
        ) {
            let condition = Condition::compile(&expression).unwrap();
            let env = Arc::new(environment());
            let facts = facts(&model, &CLI);
            if let Some(quick) = &condition.quick {
                let quick = quick.value(&facts, &condition.patterns);
                proptest::prop_assert_eq!(quick, condition.value(&env, &facts), "{}", expression);
            }
        }
    }
}
