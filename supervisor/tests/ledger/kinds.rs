//! Which workers serve a run, and what is different about each: how it is started, what its handler
//! can know and say, and how roughly it can be treated.
//!
//! A table and nothing else. Numbers of a mixed run are chosen so that all of them end together.

/// Which worker serves the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `shim/examples/failpoints.rs`
    Native,
    /// The same worker, which only says that it cannot serve.
    Refusing,
    /// A handler that takes one event after the other.
    Python,
    /// A handler with many events in flight.
    Async,
    Node,
    Ruby,
    /// A Rust source, built by the runtime.
    Rust,
    /// A shared library in C.
    C,
    /// A resident program in Go.
    Go,
    /// A resident program with a line an event.
    Lines,
    /// A process an event.
    Exec,
}

/// What a worker starts for its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Helpers {
    None,
    /// One program for all.
    Resident,
    /// A program for each.
    PerEvent,
}

/// What is to be known of a kind.
#[derive(Debug)]
pub struct Traits {
    pub name: &'static str,
    /// `spec.runtime`
    pub runtime: &'static str,
    /// The function, a file of `functions`.
    pub code: &'static str,
    /// Further lines of `spec`.
    pub spec: &'static str,
    pub helpers: Helpers,
    /// Has one event at a time, so that a death costs one at most.
    pub one_at_a_time: bool,
    /// The handler is told which attempt it is. Without that it does its deed every time, and its
    /// executions have no order.
    pub tells_attempt: bool,
    /// A reply can have header lines of its own.
    pub has_headers: bool,
    /// Among so many requests each deed of `plan.rs` has its share.
    pub deeds_of: u64,
    /// Of a thousand requests of a mixed run so many are for this kind.
    pub share: u64,
    /// `eventTimeout` in a mixed run: nothing but a stop may last so long, on a busy machine.
    pub timeout_s: u64,
    /// Between two strikes of a mixed run. A start of a worker costs up to a second of a core.
    pub pause_ms: (u64, u64),
    /// Only strikes where another worker stays ready: a start takes longer than clients wait.
    pub leaves_one: bool,
    /// From a death until another worker is ready, builds included, on a busy machine.
    pub start_s: u64,
    /// How far the clock of its notes is behind.
    pub clock_slack_ns: u64,
}

const PLAIN: Traits = Traits {
    name: "",
    runtime: "",
    code: "",
    spec: "",
    helpers: Helpers::None,
    one_at_a_time: true,
    tells_attempt: true,
    has_headers: true,
    deeds_of: 100_000,
    share: 0,
    timeout_s: 3,
    pause_ms: (100, 400),
    leaves_one: false,
    start_s: 5,
    clock_slack_ns: 0,
};

const NATIVE: Traits = Traits {
    name: "native",
    runtime: "native",
    // Its worker is the function.
    code: "one_by_one.py",
    share: 220,
    pause_ms: (50, 200),
    ..PLAIN
};
const PYTHON: Traits = Traits {
    name: "python",
    runtime: "python",
    code: "one_by_one.py",
    share: 160,
    pause_ms: (200, 600),
    ..PLAIN
};
const ASYNC: Traits =
    Traits { name: "async", code: "many_at_once.py", one_at_a_time: false, ..PYTHON };
const NODE: Traits = Traits {
    name: "node",
    runtime: "nodejs",
    code: "handler.js",
    one_at_a_time: false,
    deeds_of: 50_000,
    share: 50,
    pause_ms: (800, 2400),
    ..PLAIN
};
const RUBY: Traits = Traits {
    name: "ruby",
    runtime: "ruby",
    code: "handler.rb",
    deeds_of: 50_000,
    share: 20,
    pause_ms: (800, 2400),
    ..PLAIN
};
const RUST: Traits = Traits {
    name: "rust",
    runtime: "native",
    code: "handler.rs",
    // The first start builds the SDK.
    spec: "  readinessTimeoutSeconds: 300\n",
    deeds_of: 50_000,
    share: 145,
    pause_ms: (400, 1200),
    ..PLAIN
};
const C: Traits = Traits {
    name: "c",
    runtime: "native",
    code: "handler.c",
    deeds_of: 20_000,
    share: 160,
    pause_ms: (50, 200),
    ..PLAIN
};
const GO: Traits = Traits {
    name: "go",
    runtime: "golang",
    code: "handler.go",
    // The first start compiles the standard library.
    spec: "  readinessTimeoutSeconds: 300\n",
    helpers: Helpers::Resident,
    tells_attempt: false,
    share: 57,
    timeout_s: 8,
    pause_ms: (3000, 8000),
    leaves_one: true,
    start_s: 15,
    ..PLAIN
};
const LINES: Traits = Traits {
    name: "lines",
    runtime: "shell",
    code: "lines.py",
    spec: "  runtimeAttributes: {mode: resident, framing: lines}\n",
    helpers: Helpers::Resident,
    tells_attempt: false,
    deeds_of: 20_000,
    share: 30,
    pause_ms: (300, 1200),
    ..PLAIN
};
const EXEC: Traits = Traits {
    name: "exec",
    runtime: "shell",
    code: "exec.sh",
    spec: "  runtimeAttributes: {stderr: separate}\n",
    helpers: Helpers::PerEvent,
    one_at_a_time: false,
    tells_attempt: false,
    has_headers: false,
    deeds_of: 2000,
    share: 8,
    pause_ms: (100, 500),
    // /proc/uptime has hundredths of a second.
    clock_slack_ns: 10_000_000,
    ..PLAIN
};

impl Kind {
    /// What a mixed run consists of.
    pub const MIXED: [Kind; 10] = [
        Kind::Native,
        Kind::Python,
        Kind::Async,
        Kind::Node,
        Kind::Ruby,
        Kind::Rust,
        Kind::C,
        Kind::Go,
        Kind::Lines,
        Kind::Exec,
    ];

    pub fn traits(self) -> &'static Traits {
        match self {
            Kind::Native | Kind::Refusing => &NATIVE,
            Kind::Python => &PYTHON,
            Kind::Async => &ASYNC,
            Kind::Node => &NODE,
            Kind::Ruby => &RUBY,
            Kind::Rust => &RUST,
            Kind::C => &C,
            Kind::Go => &GO,
            Kind::Lines => &LINES,
            Kind::Exec => &EXEC,
        }
    }

    /// Served by the worker that breaks at points of its own code.
    pub fn has_failpoints(self) -> bool {
        matches!(self, Kind::Native | Kind::Refusing)
    }

    pub fn is_python(self) -> bool {
        self.traits().runtime == "python"
    }

    /// Tells requests of one kind from those of another.
    pub fn number(self) -> u64 {
        self as u64
    }

    /// The kind with that number.
    pub fn numbered(number: u64) -> Option<Kind> {
        Self::MIXED.into_iter().find(|kind| kind.number() == number)
    }
}
