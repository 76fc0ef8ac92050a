//! The kinds of traffic. Knows nothing of the proxies, nor of what makes the load.

/// A kind of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// Small answers over kept connections: what a request costs.
    Small,
    /// The same with the access log on: what a record costs.
    Logged,
    /// Requests with a body of 16 KiB: what bytes cost on their way in.
    Post,
    /// Answers of 64 KiB over kept connections: what bytes cost on their way out.
    Medium,
    /// Answers of 1 MiB over kept connections: what is left of the cost when a request is all bytes.
    Large,
    /// A new connection for every request: what a connection costs.
    Churn,
}

/// What a proxy is told to do for a scenario. One start of a proxy serves all scenarios of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setting {
    /// Without an access log.
    Plain,
    /// With an access log, to a file.
    Logged,
}

/// Clients at a time.
pub(crate) const CONNECTIONS: usize = 64;

/// The size of a request's body in [`Scenario::Post`].
pub(crate) const POSTED: usize = 16 * 1024;

// === impl Scenario ===

impl Scenario {
    /// All, in the order of the report.
    pub(crate) const ALL: [Self; 6] =
        [Self::Small, Self::Logged, Self::Post, Self::Medium, Self::Large, Self::Churn];

    /// What `--scenario` calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Logged => "logged",
            Self::Post => "post",
            Self::Medium => "64k",
            Self::Large => "large",
            Self::Churn => "churn",
        }
    }

    /// What the report calls it.
    pub(crate) fn title(self) -> String {
        match self {
            Self::Small => format!("Small answers, {CONNECTIONS} kept connections"),
            Self::Logged => format!("Small answers with the access log on, {CONNECTIONS} kept connections"),
            Self::Post => {
                format!("Requests with a body of {} KiB, {CONNECTIONS} kept connections", POSTED / 1024)
            }
            Self::Medium => format!("Answers of 64 KiB, {CONNECTIONS} kept connections"),
            Self::Large => format!("Answers of 1 MiB, {CONNECTIONS} kept connections"),
            Self::Churn => format!("A new connection for every request, {CONNECTIONS} at a time"),
        }
    }

    /// What the proxies are told for it.
    pub(crate) fn setting(self) -> Setting {
        if self == Self::Logged { Setting::Logged } else { Setting::Plain }
    }

    /// What is asked for.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Small | Self::Logged | Self::Post | Self::Churn => "/small",
            Self::Medium => "/64k",
            Self::Large => "/1m",
        }
    }
}

// === impl Setting ===

impl Setting {
    /// Both, in the order of a round.
    pub(crate) const ALL: [Self; 2] = [Self::Plain, Self::Logged];

    /// The scenarios that one start of a proxy serves.
    pub(crate) fn scenarios(self) -> impl Iterator<Item = Scenario> {
        Scenario::ALL.into_iter().filter(move |scenario| scenario.setting() == self)
    }
}
