//! What a Gemini model's body depends on: how it is told to think, what it lets be combined.
//!
//! In: the model's name. Out: its ways, as values. Never: refuses a name; one that says nothing
//! (a tuned model's number) is taken for a current Flash. Source: ai.google.dev/gemini-api/docs,
//! pages "thinking" and "thought-signatures".

/// How a model is told how much to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thinking {
    /// It cannot think.
    None,
    /// `thinkingBudget`, in tokens between `min` and `max`; 0 only where it can be switched off.
    Budget { min: u64, max: u64, off: bool },
    /// `thinkingLevel`, one of these, from little to much.
    Level(&'static [Level]),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Minimal,
    Low,
    Medium,
    High,
}

impl Level {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Minimal => "MINIMAL",
            Self::Low => "LOW",
            Self::Medium => "MEDIUM",
            Self::High => "HIGH",
        }
    }

    const fn rank(self) -> i8 {
        match self {
            Self::Minimal => 0,
            Self::Low => 1,
            Self::Medium => 2,
            Self::High => 3,
        }
    }

    /// The rung nearest to this one; of two equally near ones the higher.
    pub(super) fn nearest(self, rungs: &[Self]) -> Self {
        let far = |rung: &Self| ((rung.rank() - self.rank()).abs(), -rung.rank());
        rungs.iter().copied().min_by_key(far).unwrap_or(self)
    }
}

/// The ways of one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Model {
    pub(super) thinking: Thinking,
    /// Replayed calls need a thought signature, or the constant that stands for one (Gemini 3).
    pub(super) signs_calls: bool,
    /// Before Gemini 3: function declarations go neither with a JSON answer nor with tools that
    /// the vendor runs.
    pub(super) separates_tools: bool,
    /// Images in a tool result stand inside the `functionResponse` (Gemini 3).
    pub(super) nests_media: bool,
}

const FLASH: Thinking = Thinking::Budget { min: 1, max: 24_576, off: true };
const FLASH_LITE: Thinking = Thinking::Budget { min: 512, max: 24_576, off: true };
const PRO: Thinking = Thinking::Budget { min: 128, max: 32_768, off: false };

impl Model {
    /// Reads `gemini-2.5-flash`, `models/gemini-3-pro-preview`, `google/gemini-flash-latest`.
    pub(super) fn of(name: &str) -> Self {
        let name = name.rsplit('/').next().unwrap_or(name);
        let unknown = Self {
            thinking: FLASH,
            signs_calls: false,
            separates_tools: false,
            nests_media: false,
        };
        if name.starts_with("gemma") || name.starts_with("learnlm") {
            return Self { thinking: Thinking::None, separates_tools: true, ..unknown };
        }
        let Some(rest) = name.strip_prefix("gemini-") else { return unknown };
        let by_family = if rest.contains("lite") {
            FLASH_LITE
        } else if rest.contains("pro") {
            PRO
        } else {
            FLASH
        };
        let Some((major, minor)) = version(rest) else {
            // `gemini-flash-latest` may be of either generation: budgets are understood by both.
            return Self { thinking: by_family, signs_calls: true, ..unknown };
        };
        if major >= 3 {
            let thinking = Thinking::Level(rungs(rest, (major, minor)));
            return Self { thinking, signs_calls: true, separates_tools: false, nests_media: true };
        }
        let thinking = if (major, minor) >= (2, 5) { by_family } else { Thinking::None };
        Self { thinking, separates_tools: true, ..unknown }
    }
}

fn rungs(rest: &str, version: (u32, u32)) -> &'static [Level] {
    if !rest.contains("pro") {
        &[Level::Minimal, Level::Low, Level::Medium, Level::High]
    } else if version == (3, 0) {
        &[Level::Low, Level::High]
    } else {
        &[Level::Low, Level::Medium, Level::High]
    }
}

/// `2.5-flash` is (2, 5), `3-pro-preview` (3, 0).
fn version(rest: &str) -> Option<(u32, u32)> {
    let number = rest.split('-').next()?;
    match number.split_once('.') {
        Some((major, minor)) => Some((major.parse().ok()?, minor.parse().ok()?)),
        None => Some((number.parse().ok()?, 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_how_to_think() {
        assert_eq!(Model::of("gemini-2.5-flash").thinking, FLASH);
        assert_eq!(Model::of("models/gemini-2.5-flash-lite-001").thinking, FLASH_LITE);
        assert_eq!(Model::of("google/gemini-2.5-pro").thinking, PRO);
        assert_eq!(Model::of("gemini-2.0-flash").thinking, Thinking::None);
        assert_eq!(Model::of("gemini-1.5-pro-002").thinking, Thinking::None);
        assert_eq!(Model::of("1234567890").thinking, FLASH);
        let pro = Model::of("gemini-3-pro-preview");
        assert_eq!(pro.thinking, Thinking::Level(&[Level::Low, Level::High]));
        assert!(pro.signs_calls && pro.nests_media && !pro.separates_tools);
        assert!(Model::of("gemini-pro-latest").signs_calls);
        assert!(Model::of("gemini-2.5-pro").separates_tools);
    }

    #[test]
    fn a_level_between_two_rungs_goes_up() {
        assert_eq!(Level::Medium.nearest(&[Level::Low, Level::High]), Level::High);
        assert_eq!(Level::Minimal.nearest(&[Level::Low, Level::High]), Level::Low);
        assert_eq!(Level::Medium.nearest(&[Level::Low, Level::Medium]), Level::Medium);
    }
}
