//! What a logged request cost, where nobody was charged for it, or prices have changed since.
//!
//! In: a row or a record, the configuration in force. Out: nano-dollars. Never: charges anybody.

use crate::chat::Usage;
use crate::config::Snapshot;
use crate::govern::prices::{Prices, Query};
use crate::observe::Record;
use crate::store::log_row::Columns;
use std::sync::Arc;
use tokio::sync::watch;

/// Prices as they are now.
#[derive(Debug, Clone)]
pub struct LogPrices {
    shipped: Arc<Prices>,
    in_force: watch::Receiver<Arc<Snapshot>>,
}

/// What a price depends on.
struct Sold<'s> {
    provider: &'s str,
    models: &'s [&'s str],
    key: &'s str,
    virtual_key: &'s str,
    request_type: &'s str,
}

impl LogPrices {
    pub fn new(in_force: watch::Receiver<Arc<Snapshot>>) -> Self {
        Self { shipped: Arc::new(Prices::shipped()), in_force }
    }

    /// Of a request that has just ended; what was charged for it, if anything was.
    pub fn of_record(&self, record: &Record) -> Option<u64> {
        if record.cost.is_some() || record.usage.total() == 0 {
            return record.cost;
        }
        let sold = Sold {
            provider: &record.provider,
            models: &[&record.canonical, &record.model],
            key: &record.key.id,
            virtual_key: &record.virtual_key.id,
            request_type: record.operation,
        };
        self.cost(&sold, &record.usage)
    }

    /// Of a row that was written once.
    pub fn of_row(&self, row: Columns<'_>) -> Option<u64> {
        let tokens = |name: &str| u64::try_from(row.int(name)).ok();
        let usage = Usage {
            input: tokens("input_tokens"),
            output: tokens("output_tokens"),
            reasoning: tokens("reasoning_tokens"),
            cache_read: tokens("cache_read_tokens"),
            cache_write: tokens("cache_write_tokens"),
            cache_write_1h: tokens("cache_write_1h_tokens"),
            input_audio: tokens("input_audio_tokens"),
            output_audio: tokens("output_audio_tokens"),
            web_searches: tokens("web_searches"),
            service_tier: Some(row.text("service_tier").to_owned()).filter(|tier| !tier.is_empty()),
        };
        if usage.total() == 0 {
            return None;
        }
        let sold = Sold {
            provider: row.text("provider"),
            models: &[row.text("canonical_model"), row.text("model")],
            key: row.text("selected_key_id"),
            virtual_key: row.text("virtual_key_id"),
            request_type: row.text("object"),
        };
        self.cost(&sold, &usage)
    }

    fn cost(&self, sold: &Sold<'_>, usage: &Usage) -> Option<u64> {
        let snapshot = Arc::clone(&self.in_force.borrow());
        let prices = snapshot.law.as_ref().map_or(&*self.shipped, |law| &law.prices);
        let provider = snapshot.providers.get(sold.provider);
        let kind = provider.map_or(sold.provider, |provider| provider.row.name);
        let key = provider.and_then(|of| of.keys.iter().find(|key| *key.id == *sold.key));
        let models: Vec<_> = sold.models.iter().copied().filter(|name| !name.is_empty()).collect();
        let query = Query {
            provider: sold.provider,
            models: &models,
            key: Some(sold.key).filter(|id| !id.is_empty()),
            virtual_key: Some(sold.virtual_key).filter(|id| !id.is_empty()),
            request_type: sold.request_type,
            region: key.and_then(|key| key.region.as_deref()),
        };
        let quote = prices.quote(&query);
        let quote = quote.or_else(|| prices.quote(&Query { provider: kind, ..query }));
        quote.map(|quote| quote.cost(usage))
    }
}
