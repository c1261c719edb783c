//! The table of loads: what is asked, over how many connections, and what was promised of it.

use crate::server::Server;

/// One load, the same for every server.
pub struct Scenario {
    pub name: &'static str,
    /// 0 = GET that is answered `hello`; else POST of so many bytes that come back.
    pub body_bytes: usize,
    pub connections: u32,
    /// nuclio's handler, a file of `benches/scenarios/`; and the one of the server `nuclio-view`.
    pub handler: &'static str,
    pub view_handler: &'static str,
    /// The same in Rust, for the server `nuclio-native`.
    pub native_handler: &'static str,
    /// wrk's own CPU per request while the floor answers, above which the machine counts as
    /// disturbed. None where no such figure is known.
    pub calm_wrk_us_max: Option<f64>,
    /// What nuclio's CPU per request may be at most, as a multiple of the floor's.
    pub floor_ratio_max: Option<f64>,
    /// The same against the better of granian's interfaces, or against every peer.
    pub peer_limit: Option<PeerLimit>,
    /// What was promised of nuclio with other languages.
    pub promises: &'static [Promise],
}

/// The CPU a request of one server is at most so many times that of another.
pub struct Promise {
    pub of: Server,
    pub than: Server,
    pub most: f64,
}

#[derive(Clone, Copy)]
pub enum PeerLimit {
    BestGranian(f64),
    BelowEveryPeer,
}

/// What a trivial script must cost in exec mode, processor left out, as a multiple of resident mode.
pub const EXEC_TO_RESIDENT_MIN: f64 = 50.0;

pub const HELLO_BODY: &[u8] = b"hello";

/// wrk with one thread needs 7.0 to 7.3 us a request on the quiet reference machine.
const CALM_WRK_US: f64 = 7.6;

const HELLO: Scenario = Scenario {
    name: "hello",
    body_bytes: 0,
    connections: 64,
    handler: "hello.py",
    view_handler: "hello.py",
    native_handler: "hello.rs",
    calm_wrk_us_max: Some(CALM_WRK_US),
    floor_ratio_max: Some(1.35),
    peer_limit: Some(PeerLimit::BestGranian(0.55)),
    promises: &[
        Promise { of: Server::NuclioNode, than: Server::NodeHttp, most: 0.6 },
        Promise { of: Server::NuclioNode, than: Server::Fastify, most: 1.0 },
        Promise { of: Server::NuclioNative, than: Server::Floor, most: 1.2 },
    ],
};

const ECHO: Scenario = Scenario {
    name: "echo-1k",
    body_bytes: 1024,
    handler: "echo.py",
    view_handler: "echo_view.py",
    native_handler: "echo.rs",
    floor_ratio_max: Some(1.5),
    peer_limit: Some(PeerLimit::BelowEveryPeer),
    promises: &[Promise { of: Server::NuclioNode, than: Server::NodeHttp, most: 1.0 }],
    ..HELLO
};

pub const SCENARIOS: [Scenario; 5] = [
    HELLO,
    // One request at a time: latency, not load. wrk's gauge means nothing here.
    Scenario {
        name: "hello-c1",
        connections: 1,
        calm_wrk_us_max: None,
        floor_ratio_max: None,
        peer_limit: None,
        promises: &[],
        ..HELLO
    },
    ECHO,
    Scenario {
        name: "echo-64k",
        body_bytes: 64 * 1024,
        connections: 16,
        calm_wrk_us_max: None,
        ..ECHO
    },
    Scenario {
        name: "echo-1m",
        body_bytes: 1024 * 1024,
        connections: 8,
        calm_wrk_us_max: None,
        ..ECHO
    },
];

pub fn find(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}

impl Scenario {
    /// A body in which no two neighbouring blocks are alike, so that a shifted or torn answer
    /// shows.
    pub fn body(&self) -> Vec<u8> {
        let mut state = 0x2545_f491_u32;
        let next = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as u8
        };
        std::iter::repeat_with(next).take(self.body_bytes).collect()
    }
}
