"""Functions in shared libraries: C and Rust, as files and as a package, right and wrong ones."""

import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import textwrap
import unittest

from processor import DIST, REPOSITORY, Processor, http_trigger, wait_until
from wire import ask

EXAMPLES = REPOSITORY / "runtimes/native/examples"
# A first build compiles the SDK, and for some tests crates as well.
BUILD_LIMIT_S = 200
COMPILE_LIMIT_S = 60
PATIENT = {"triggers": http_trigger(), "readinessTimeoutSeconds": BUILD_LIMIT_S}

# What this handler does is chosen by the path.
MANY = """
use nuclio_sdk::{Context, Error, Event, Response, Result, handler, init};
use std::time::Duration;

static READY: std::sync::OnceLock<String> = std::sync::OnceLock::new();

#[init]
fn start(context: &Context) -> Result<()> {
    let _ = READY.set(context.function().to_owned());
    Ok(())
}

fn deeper(depth: usize) -> usize {
    let page = std::hint::black_box([depth; 512]);
    if depth == usize::MAX { 0 } else { deeper(depth + 1) + page[depth % 512] }
}

#[handler]
fn any_name(context: &Context, event: Event) -> Result<Response> {
    Ok(match &*event.path() {
        "/echo" => Response::part_of_body(0..event.body().len()),
        "/copy" => Response::bytes(event.body().to_vec()),
        "/part" => Response::part_of_body(1..3),
        "/big" => Response::bytes(vec![b'x'; 20 << 20]),
        "/init" => Response::text(READY.get().cloned().unwrap_or_default()),
        "/panic" => panic!("on purpose"),
        "/abort" => std::process::abort(),
        "/exit" => std::process::exit(3),
        "/segfault" => Response::bytes(vec![unsafe { std::ptr::null::<u8>().read_volatile() }]),
        "/overflow" => Response::text(deeper(event.body().len()).to_string()),
        "/error" => return Err("x".parse::<u8>().unwrap_err().into()),
        "/teapot" => return Err(Error::status(418, "short and stout")),
        "/retry" => return Err(Error::retry(Duration::from_secs(5))),
        "/reject" => return Err(Error::reject("never")),
        "/sleep" => {
            std::thread::sleep(Duration::from_secs(30));
            Response::empty()
        }
        "/headers" => {
            let counted = Response::empty().with_header("X-Count", "1");
            let mut reply = counted.with_header("X-Count", "2");
            for (name, value) in event.headers().filter(|(name, _)| name.starts_with(b"X-")) {
                reply = reply.with_header(format!("Seen-{}", String::from_utf8_lossy(name)), value);
            }
            reply
        }
        "/breaks" => Response::empty().with_header("X-A", "1\\r\\nX-B: 2"),
        "/status" => Response::empty().with_status(99),
        "/log" => {
            context.log(nuclio_sdk::Level::Warn, "noted", &[("size", &event.body().len())]);
            println!("printed");
            Response::empty()
        }
        "/about" => Response::text(format!(
            "{} {} {} {:?} {} {}",
            event.method(), event.path(), event.query(), event.query_value("a b"),
            event.content_type(), event.trigger_kind()
        )),
        _ => Response::empty().with_status(404),
    })
}
"""

HOSTILE = """
#include <stdlib.h>
#include <string.h>
#include "nuclio_handler.h"

static nuclio_header_line torn = {{0, 5}, {0, 5}};

int my_handler(const nuclio_context *context, const nuclio_event *event, nuclio_response *response)
{
    nuclio_bytes path;
    context->api->text(event, NUCLIO_TEXT_PATH, &path);
    switch (path.length > 1 ? path.data[1] : 0) {
    case 'b': response->body.length = 5; break;
    case 'h': response->headers = &torn; response->header_count = 1; break;
    case 'n': response->header_count = 3; break;
    case 's': response->status = 9; break;
    case 'o': response->outcome = 77; break;
    case 't': response->content_type = 99; break;
    case '7': return 7;
    case 'l': response->body.data = path.data; response->body.length = (size_t)-1; break;
    case 'z': memset(response, 0, sizeof *response); break;
    case 'v': context->api->text(0, 1, 0); context->api->body(event, 0); break;
    case 'c': *(volatile int *)context->user_data = 1; break;
    default: response->body = path;
    }
    return 0;
}
"""


def compile_c(source, library):
    """A shared library of a C source, against the header as it is shipped."""
    strict = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC"]
    header = ["-I", DIST / "runtimes/native"]
    argv = ["cc", *strict, *header, source, "-o", library]
    subprocess.run(argv, check=True, timeout=COMPILE_LIMIT_S)


class Cache(unittest.TestCase):
    """A folder for what is built, and one for what is written by the test."""

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="nuclio-native-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.env = {"XDG_CACHE_HOME": str(cls.folder / "cache")}

    def serving(self, code, name, **more):
        processor = Processor(code, file=name, env=self.env, **more)
        self.addCleanup(processor.close)
        return processor.wait_ready(BUILD_LIMIT_S)


class Rust(Cache):
    """One Rust file with many paths."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        spec = {"triggers": http_trigger(), "eventTimeout": "2s"}
        cls.processor = Processor(MANY, file="many.rs", env=cls.env, spec=spec)
        cls.addClassCleanup(cls.processor.close)
        cls.processor.wait_ready(BUILD_LIMIT_S)
        cls.before = cls.processor.census()

    def tearDown(self):
        self.processor.wait_census(self.before, same_workers=False)

    def ask(self, path, body=b"", headers=()):
        return ask(self.processor.http, "POST", path, body, headers)

    def test_bodies_come_back(self):
        for size in (0, 1, 4096, (16 << 10) + 1, 1 << 20, 4 << 20):
            body = os.urandom(size)
            self.assertEqual(self.ask("/copy", body).body, body, size)
            self.assertEqual(self.ask("/echo", body).body, body, size)
        self.assertEqual(len(self.ask("/big").body), 20 << 20)

    def test_a_part_that_is_not_there_is_an_error(self):
        self.assertEqual(self.ask("/part", b"abcd").body, b"bc")
        reply = self.ask("/part", b"a")
        self.assertEqual((reply.status, reply.body), (500, b"no part 1..3 in a body of 1 bytes"))

    def test_init_has_run(self):
        self.assertEqual(self.ask("/init").body, b"function")

    def test_a_panic_is_this_events_only(self):
        pids = self.processor.worker_pids()
        reply = self.ask("/panic")
        self.assertEqual((reply.status, reply.body), (500, b"on purpose"))
        self.assertEqual(self.ask("/echo", b"next").body, b"next")
        self.assertEqual(self.processor.worker_pids(), pids)
        wait_until(lambda: "many.rs:" in self.processor.stderr(), "the place of the panic")

    def test_a_death_costs_a_worker_and_no_more(self):
        for path in ("/abort", "/exit", "/segfault", "/overflow"):
            with self.subTest(path):
                self.assertEqual(self.ask(path).status, 502)
                self.assertEqual(self.ask("/echo", b"next").body, b"next")

    def test_a_killed_worker_is_replaced(self):
        (pid,) = self.processor.worker_pids()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: self.processor.worker_pids() not in ([], [pid]), "another worker")
        self.assertEqual(self.ask("/echo", b"again").body, b"again")

    def test_errors_have_their_words(self):
        seen = {
            path: (reply.status, reply.body.decode())
            for path in ("/error", "/teapot", "/retry", "/reject")
            for reply in [self.ask(path)]
        }
        expected = {
            "/error": (500, "invalid digit found in string"),
            "/teapot": (418, "short and stout"),
            "/retry": (503, "try again in 5 s"),
            "/reject": (422, "never"),
        }
        self.assertEqual(seen, expected)
        self.assertEqual(self.ask("/retry").get("Retry-After"), "5")

    def test_headers_are_repeated_empty_and_of_any_bytes(self):
        reply = self.ask("/headers", b"", ["X-One: 1", "X-One: 2", "X-Empty:", "X-Odd: caf\xe9"])
        self.assertEqual(reply.get_all("X-Count"), ["1", "2"])
        self.assertEqual(reply.get_all("Seen-X-One"), ["1", "2"])
        self.assertEqual(reply.get("Seen-X-Empty"), "")
        self.assertEqual(reply.get("Seen-X-Odd"), "caf\xe9")

    def test_a_reply_that_cannot_be_sent_is_an_error(self):
        for path in ("/breaks", "/status"):
            self.assertEqual(self.ask(path).status, 500, path)
        self.assertEqual(self.ask("/echo", b"next").body, b"next")

    def test_the_event_says_what_it_is(self):
        reply = self.ask("/about?a%20b=c+d", b"", ["Content-Type: x/y"])
        self.assertEqual(reply.body.decode(), 'POST /about a%20b=c+d Some("c d") x/y http')

    def test_what_is_logged_and_printed(self):
        self.ask("/log", b"four")
        wait_until(lambda: "noted size=4" in self.processor.stderr(), self.processor.stderr)
        wait_until(lambda: "printed" in self.processor.stderr(), self.processor.stderr)

    def test_a_handler_past_its_time_is_ended(self):
        self.assertEqual(self.ask("/sleep").status, 408)
        self.assertEqual(self.ask("/echo", b"next").body, b"next")


class C(Cache):
    """Libraries that somebody else has built."""

    def test_the_example(self):
        compile_c(EXAMPLES / "hello.c", self.folder / "hello.so")
        processor = self.serving_library("hello.so")
        self.assertEqual(ask(processor.http, "GET", "/x").body, b"Hello from C at /x!\n")

    def serving_library(self, name, **more):
        processor = Library((self.folder / name).read_bytes(), name, self.env, **more)
        self.addCleanup(processor.close)
        return processor.wait_ready()

    def test_a_hostile_answer_is_an_error_and_no_more(self):
        source = self.folder / "hostile.c"
        source.write_text(HOSTILE)
        compile_c(source, self.folder / "hostile.so")
        processor = self.serving_library("hostile.so", flags=("--handler", "my_handler"))
        before = processor.census()
        for path in ("/b", "/h", "/n", "/s", "/o", "/t", "/7", "/l", "/z"):
            self.assertEqual(ask(processor.http, "GET", path).status, 500, path)
        self.assertEqual(ask(processor.http, "GET", "/v").status, 200)
        processor.wait_census(before)
        self.assertEqual(ask(processor.http, "GET", "/c").status, 502)
        self.assertEqual(ask(processor.http, "GET", "/fine").body, b"/fine")
        processor.wait_census(before, same_workers=False)


class Library(Processor):
    """A processor that serves bytes as a file."""

    def __init__(self, library, name, env, **more):
        self.library, self.name = library, name
        super().__init__("", file=name, env=env, **more)

    def environment(self, more=None):
        # Called between the folder's making and the start.
        (self.folder / self.name).write_bytes(self.library)
        return super().environment(more)


class Packages(Cache):
    """A package, an example with crates, and a change while it runs."""

    def test_a_package_with_the_sdk_by_version(self):
        package = self.folder / "greeter"
        (package / "src").mkdir(parents=True)
        (package / "src/lib.rs").write_text((EXAMPLES / "hello.rs").read_text())
        (package / "Cargo.toml").write_text(
            textwrap.dedent("""
                [package]
                name = "greeter"
                version = "0.1.0"
                edition = "2024"
                [lib]
                crate-type = ["cdylib"]
                [dependencies]
                nuclio-sdk = { path = "SDK" }
                [workspace]
            """).replace("SDK", str(DIST / "runtimes/native/sdk"))
        )
        processor = Package(package, self.env)
        self.addCleanup(processor.close)
        processor.wait_ready(BUILD_LIMIT_S)
        self.assertEqual(ask(processor.http, "GET", "/?name=Ada").body, b"Hello, Ada!\n")
        self.assertFalse((package / "target").exists())

    def test_a_log_is_scanned(self):
        processor = self.serving((EXAMPLES / "logscan.rs").read_text(), "logscan.rs", spec=PATIENT)
        log = b"12:00 INFO up\n12:01 ERROR disk\n\xff\xfe WARN odd\n12:02 ERROR net\nplain\n" * 1000
        reply = ask(processor.http, "POST", "/", log)
        self.assertEqual(
            reply.body, b'{"lines": 5000, "found": {"ERROR": 2000, "INFO": 1000, "WARN": 1000}}\n'
        )
        self.assertEqual(ask(processor.http, "POST", "/?pattern=(", log).status, 400)

    def test_a_change_is_built_and_served(self):
        code = (EXAMPLES / "hello.rs").read_text()
        processor = self.serving(code, "hello.rs", flags=("--watch",))
        said = lambda: ask(processor.http, "GET", "/").body  # noqa: E731
        self.assertEqual(said(), b"Hello, world!\n")
        (processor.folder / "hello.rs").write_text(code.replace("Hello", "Goodbye"))
        wait_until(lambda: said() == b"Goodbye, world!\n", "the change", BUILD_LIMIT_S)
        (processor.folder / "hello.rs").write_text("fn torn( {")
        wait_until(lambda: "unclosed delimiter" in processor.stderr(), processor.stderr)
        (processor.folder / "hello.rs").write_text(code)
        wait_until(lambda: said() == b"Hello, world!\n", "the repair", BUILD_LIMIT_S)


class Package(Processor):
    """A processor that serves a folder, put beside its own files."""

    def __init__(self, package, env):
        self.package = package
        super().__init__("", file="unused", env=env)

    def environment(self, more=None):
        # Called between the folder's making and the start.
        (self.folder / "unused").unlink()
        (self.folder / "unused").symlink_to(self.package)
        return super().environment(more)


class Wrong(Cache):
    """What cannot be served says why and ends with 2."""

    def said(self, code, name, env=None, exit_code=2):
        processor = Processor(code, file=name, env={**self.env, **(env or {})})
        self.addCleanup(processor.close)
        self.assertEqual(processor.wait_end(BUILD_LIMIT_S), exit_code, processor.stderr())
        return processor.stderr().replace(str(processor.folder), "DIR")

    def test_no_library(self):
        self.assertIn(
            "DIR/junk.so cannot be loaded as a shared library: DIR/junk.so: file too short",
            self.said("junk", "junk.so"),
        )

    def test_no_handler(self):
        self.assertIn("DIR/empty.rs exports no function nuclio_handle", self.said("", "empty.rs"))

    def test_code_that_does_not_compile(self):
        said = self.said("fn torn( {", "torn.rs")
        self.assertIn("the build failed", said)
        self.assertIn("--> DIR/torn.rs:1:", said)

    def test_a_crate_that_is_not_there(self):
        said = self.said("use serde::Serialize;\n", "lacks.rs")
        self.assertIn("unlinked crate `serde`", said)
        self.assertIn('//! serde = "*"', said)

    def test_an_attribute_in_the_wrong_place(self):
        said = self.said("#[nuclio_sdk::handler]\nstruct X;", "odd.rs")
        self.assertIn("#[handler] belongs above a function", said)

    def test_an_init_that_fails(self):
        code = MANY.replace("Ok(())\n}", 'Err(Error::new("no database"))\n}', 1)
        self.assertIn("nuclio_init: no database", self.said(code, "init.rs", exit_code=1))

    def test_cargo_is_missing(self):
        said = self.said("", "any.rs", env={"PATH": "/nowhere"})
        self.assertIn("cargo cannot be started", said)

    def test_another_version_of_the_header(self):
        source = self.folder / "old.c"
        source.write_text("unsigned nuclio_handler_abi(void) { return 7u << 16; }\n")
        compile_c(source, self.folder / "old.so")
        processor = Library((self.folder / "old.so").read_bytes(), "old.so", self.env)
        self.addCleanup(processor.close)
        self.assertEqual(processor.wait_end(), 2)
        self.assertIn("version 7.x of the handler interface", processor.stderr())


if __name__ == "__main__":
    unittest.main()
