//! Token counts, in one convention: `input` excludes what was read from or written to the cache.
//!
//! In: counts of a vendor, brought into this convention by its decoder.
//! Out: the same counts for an encoder, the ledger and the metrics.
//! Never: guesses; an unknown count is `None`.

/// Tokens of one answer. `reasoning` is contained in `output`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Prompt tokens that were neither read from nor written to the cache.
    pub input: Option<u64>,
    pub output: Option<u64>,
    pub reasoning: Option<u64>,
    pub cache_read: Option<u64>,
    /// All cache writes, of every lifetime.
    pub cache_write: Option<u64>,
    /// Of these, with a lifetime of an hour.
    pub cache_write_1h: Option<u64>,
    pub input_audio: Option<u64>,
    pub output_audio: Option<u64>,
    /// Searches that the vendor ran.
    pub web_searches: Option<u64>,
    /// The tier that the vendor served it on.
    pub service_tier: Option<String>,
}

impl Usage {
    /// Takes over what `later` knows: counts grow, so the larger one holds.
    pub fn merge(&mut self, later: &Self) {
        let pairs = [
            (&mut self.input, later.input),
            (&mut self.output, later.output),
            (&mut self.reasoning, later.reasoning),
            (&mut self.cache_read, later.cache_read),
            (&mut self.cache_write, later.cache_write),
            (&mut self.cache_write_1h, later.cache_write_1h),
            (&mut self.input_audio, later.input_audio),
            (&mut self.output_audio, later.output_audio),
            (&mut self.web_searches, later.web_searches),
        ];
        for (mine, new) in pairs {
            *mine = (*mine).max(new);
        }
        if later.service_tier.is_some() {
            self.service_tier.clone_from(&later.service_tier);
        }
    }

    /// The whole prompt, cache reads and writes included (OpenAI's `prompt_tokens`).
    pub fn prompt(&self) -> u64 {
        [self.input, self.cache_read, self.cache_write].iter().flatten().sum()
    }

    /// Prompt and answer together.
    pub fn total(&self) -> u64 {
        self.prompt() + self.output.unwrap_or(0)
    }
}
