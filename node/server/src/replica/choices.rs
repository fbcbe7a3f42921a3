//! What an operator has chosen while the node ran, in place of what the settings say: kept over a restart, until the settings
//! say something else than they did.

use std::time::Duration;

use holdfast_core::replica::message::SyncReplicas;
use serde::{Deserialize, Serialize};

use crate::replica::options::GroupOptions;

/// One choice, and what the settings said when it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Chosen<T> {
    /// What was chosen.
    pub value: T,
    /// What the settings said, as text.
    pub over: String,
}

/// Everything that can be chosen so.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Choices {
    /// The port on which this node leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<Chosen<u16>>,
    /// After how much silence of the leader it stands for its place, in milliseconds; `null` for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silence: Option<Chosen<Option<u64>>>,
    /// How many followers a write waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync_replicas: Option<Chosen<SyncReplicas>>,
}

impl Choices {
    /// Without those that the settings have been changed since.
    #[must_use]
    pub fn in_force(self, options: &GroupOptions) -> Self {
        Self {
            port: self.port.filter(|chosen| chosen.over == port(options)),
            silence: self.silence.filter(|chosen| chosen.over == silence(options)),
            sync_replicas: self.sync_replicas.filter(|chosen| chosen.over == sync_replicas(options)),
        }
    }

    /// The port on which this node leads.
    pub fn lead_port(&self, options: &GroupOptions) -> u16 {
        self.port.as_ref().map_or(options.lead_port, |chosen| chosen.value)
    }

    /// After how much silence it stands for the leader's place.
    pub fn silence(&self, options: &GroupOptions) -> Option<Duration> {
        match &self.silence {
            Some(chosen) => chosen.value.map(Duration::from_millis),
            None => options.silence,
        }
    }

    /// How many followers a write waits for, and for how long.
    pub fn sync_replicas(&self, options: &GroupOptions) -> (u64, Duration) {
        match &self.sync_replicas {
            Some(chosen) => (chosen.value.min, Duration::from_millis(chosen.value.timeout_millis)),
            None => (options.min_sync_replicas, options.sync_timeout),
        }
    }

    /// It leads on this port; on the settings' if none is named.
    pub fn choose_port(&mut self, chosen: Option<u16>, options: &GroupOptions) {
        self.port = chosen.map(|value| Chosen { value, over: port(options) });
    }

    /// It takes over after so much silence, or never.
    pub fn choose_silence(&mut self, chosen: Option<Duration>, options: &GroupOptions) {
        let millis = chosen.map(|silence| u64::try_from(silence.as_millis()).unwrap_or(u64::MAX));
        self.silence = Some(Chosen { value: millis, over: silence(options) });
    }

    /// A write waits for so many followers.
    pub fn choose_sync_replicas(&mut self, min: u64, within: Duration, options: &GroupOptions) {
        let timeout_millis = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        self.sync_replicas = Some(Chosen { value: SyncReplicas { min, timeout_millis }, over: sync_replicas(options) });
    }
}

fn port(options: &GroupOptions) -> String {
    options.lead_port.to_string()
}

fn silence(options: &GroupOptions) -> String {
    options.silence.map_or("never".to_owned(), |silence| format!("{} s", silence.as_secs()))
}

fn sync_replicas(options: &GroupOptions) -> String {
    format!("{} within {} s", options.min_sync_replicas, options.sync_timeout.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    #[test]
    fn a_choice_holds_until_its_own_setting_changes() {
        let settings = Settings::default();
        let options = GroupOptions::from_settings(&settings, None);
        let mut choices = Choices::default();
        choices.choose_port(Some(5_600), &options);
        choices.choose_silence(Some(Duration::from_secs(7)), &options);
        choices.choose_sync_replicas(2, Duration::from_secs(1), &options);
        assert_eq!(choices.clone().in_force(&options), choices);
        let mut changed = settings;
        changed.replication.auto_failover.silence_seconds = 30;
        changed.replication.min_sync_replicas = 1;
        let options = GroupOptions::from_settings(&changed, None);
        let left = choices.in_force(&options);
        assert_eq!(left.lead_port(&options), 5_600);
        assert_eq!(left.silence(&options), Some(Duration::from_secs(30)));
        assert_eq!(left.sync_replicas(&options).0, 1);
    }

    #[test]
    fn switched_off_is_a_choice_too() {
        let mut settings = Settings::default();
        settings.replication.auto_failover.silence_seconds = 30;
        let options = GroupOptions::from_settings(&settings, None);
        let mut choices = Choices::default();
        choices.choose_silence(None, &options);
        assert_eq!(choices.in_force(&options).silence(&options), None);
    }
}
