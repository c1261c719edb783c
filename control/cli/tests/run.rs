//! `nuclio run` from outside: what it hands to the processor, and how it refuses.

mod support;

use expect_test::{Expect, expect};
use support::{Desk, Said};

const HELLO: &str = "def handler(context, event):\n    return 'hi'\n";

/// What the stand-in was given.
fn handed_over(said: &Said) -> String {
    assert_eq!(said.code, Some(7), "{said:?}");
    let lines = said.stdout.lines().filter(|line| {
        // Both differ from run to run.
        !line.starts_with("pid ") && !line.starts_with("file ")
    });
    let text = lines.map(|line| line.strip_prefix("argument ").unwrap_or(line));
    text.collect::<Vec<_>>().join("\n")
}

fn check_refusal(said: &Said, expected: &Expect) {
    expected.assert_eq(&said.refusal());
}

#[test]
fn one_file_is_enough() {
    let desk = Desk::new();
    desk.file("Hello_World.py", HELLO);
    let said = desk.typed(&["run", "Hello_World.py"]);
    assert_eq!(said.stderr, "");
    expect![[r#"
        --config-fd
        3
        --namespace
        default
        --log-format
        people
        --runtimes
        DIR/installed/runtimes
        config {"apiVersion":"nuclio.io/v1","kind":"Function","metadata":{"name":"hello-world","namespace":"default"},"spec":{"runtime":"python","build":{"path":"DIR/work/Hello_World.py"},"isolation":"standard"}}"#]].assert_eq(&handed_over(&said));
}

#[test]
fn every_flag_reaches_the_processor() {
    let desk = Desk::new();
    desk.file("hello.py", HELLO);
    let words = [
        "run",
        "greeter",
        "hello.py",
        "--handler",
        "hello:handler",
        "--runtime",
        "python:3.13",
        "-e",
        "A=1",
        "-e",
        "B=x=y",
        "-e",
        "A=2",
        "--port",
        "9000",
        "--host",
        "0.0.0.0",
        "--workers",
        "auto",
        "--trigger",
        "http,maxRequestBodySize=1000",
        "--watch",
        "--python",
        "/bin/sh",
        "--admin",
        ":9001",
        "-n",
        "shop",
        "--log-level",
        "warn",
        "--lenient",
        "-o",
        "json",
    ];
    expect![[r#"
        --config-fd
        3
        --namespace
        shop
        --log-format
        json
        --host
        0.0.0.0
        --port
        9000
        --workers
        auto
        --admin
        0.0.0.0:9001
        --log-level
        warn
        --runtimes
        DIR/installed/runtimes
        --python
        /bin/sh
        --watch
        --lenient
        config {"apiVersion":"nuclio.io/v1","kind":"Function","metadata":{"name":"greeter","namespace":"shop"},"spec":{"handler":"hello:handler","runtime":"python:3.13","env":[{"name":"B","value":"x=y"},{"name":"A","value":"2"}],"triggers":{"default-http":{"kind":"http","workerTerminationTimeout":"10s","workerAvailabilityTimeoutMilliseconds":10000,"maxInflight":64,"maxAttempts":3,"onExhausted":"deadLetter","attributes":{"readBufferSize":16384,"maxRequestBodySize":1000,"cors":{"enabled":false,"allowOrigins":["*"],"allowMethods":["HEAD","GET","POST","PUT","DELETE","OPTIONS","PATCH"],"allowHeaders":["Accept","Content-Length","Content-Type","Authorization","X-Nuclio-Log-Level"],"allowCredentials":false,"exposeHeaders":[],"preflightRequestMethod":"OPTIONS","preflightMaxAgeSeconds":5}},"explicitAckMode":"disable"}},"build":{"path":"DIR/work/hello.py"},"isolation":"standard"}}"#]].assert_eq(&handed_over(&desk.typed(&words)));
}

#[test]
fn environment_twins_stand_in_for_flags_and_empty_ones_for_nothing() {
    let desk = Desk::new();
    desk.file("hello.py", HELLO);
    let mut command = desk.command(&["run", "hello.py", "--workers", "2"]);
    command
        .env("PORT", "9000")
        .env("NUCLIO_WORKERS", "9")
        .env("NUCLIO_WATCH", "1")
        .env("NUCLIO_LENIENT", "no")
        .env("NUCLIO_HOST", "")
        .env("NUCLIO_OUTPUT", "")
        .env("NUCLIO_ENV", "A=1\n B=2 \n")
        .env("NUCLIO_NAMESPACE", "shop")
        .env("NUCLIO_LOG_FORMAT", "json");
    expect![[r#"
        --config-fd
        3
        --namespace
        shop
        --port
        9000
        --workers
        2
        --runtimes
        DIR/installed/runtimes
        --watch
        config {"apiVersion":"nuclio.io/v1","kind":"Function","metadata":{"name":"hello","namespace":"shop"},"spec":{"runtime":"python","env":[{"name":"A","value":"1"},{"name":"B","value":"2"}],"build":{"path":"DIR/work/hello.py"},"isolation":"standard"}}"#]].assert_eq(&handed_over(&desk.said(&mut command)));
}

#[test]
fn it_becomes_the_processor() {
    let desk = Desk::new();
    desk.file("hello.py", HELLO);
    let child = desk.command(&["run", "hello.py"]).spawn().unwrap();
    let pid = child.id();
    let output = child.wait_with_output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.starts_with(&format!("pid {pid}\n")), "{stdout}");
    let file = stdout.lines().find_map(|line| line.strip_prefix("file ")).unwrap();
    assert!(file.ends_with("(deleted)"), "nothing is left on disk: {file}");
}

#[test]
fn flags_override_function_yaml() {
    let desk = Desk::new();
    desk.file("code/main.py", HELLO);
    desk.file(
        "function.yaml",
        r#"
apiVersion: nuclio.io/v1
kind: NuclioFunction
metadata:
  name: from-file
  namespace: shop
spec:
  runtime: python:3.11
  handler: main:handler
  build:
    path: ./code
  env:
  - name: A
    value: file
  - name: B
    value: file
  loggerSinks:
  - level: warn
  triggers:
    web:
      kind: http
      numWorkers: 3
      attributes:
        port: 8123
        maxRequestBodySize: ${MAX}
"#,
    );
    let mut plain = desk.command(&["run", "-f", "function.yaml"]);
    expect![[r#"
        --config-fd
        3
        --namespace
        shop
        --log-format
        people
        --port
        8123
        --log-level
        warn
        --runtimes
        DIR/installed/runtimes
        config {"apiVersion":"nuclio.io/v1","kind":"NuclioFunction","metadata":{"name":"from-file","namespace":"shop"},"spec":{"handler":"main:handler","runtime":"python:3.11","env":[{"name":"A","value":"file"},{"name":"B","value":"file"}],"triggers":{"web":{"kind":"http","numWorkers":3,"workerTerminationTimeout":"10s","workerAvailabilityTimeoutMilliseconds":10000,"maxInflight":64,"maxAttempts":3,"onExhausted":"deadLetter","attributes":{"port":8123,"readBufferSize":16384,"maxRequestBodySize":1000,"cors":{"enabled":false,"allowOrigins":["*"],"allowMethods":["HEAD","GET","POST","PUT","DELETE","OPTIONS","PATCH"],"allowHeaders":["Accept","Content-Length","Content-Type","Authorization","X-Nuclio-Log-Level"],"allowCredentials":false,"exposeHeaders":[],"preflightRequestMethod":"OPTIONS","preflightMaxAgeSeconds":5}},"explicitAckMode":"disable"}},"build":{"path":"DIR/work/code"},"isolation":"standard","loggerSinks":[{"level":"warn"}]}}"#]].assert_eq(&handed_over(&desk.said(plain.env("MAX", "1000"))));
    let words = ["run", "mine", "-f", "function.yaml", "-e", "A=flag", "--port", "1", "-n", "n"];
    let mut over = desk.command(&words);
    expect![[r#"
        --config-fd
        3
        --namespace
        n
        --log-format
        people
        --port
        1
        --log-level
        warn
        --runtimes
        DIR/installed/runtimes
        config {"apiVersion":"nuclio.io/v1","kind":"NuclioFunction","metadata":{"name":"mine","namespace":"n"},"spec":{"handler":"main:handler","runtime":"python:3.11","env":[{"name":"B","value":"file"},{"name":"A","value":"flag"}],"triggers":{"web":{"kind":"http","numWorkers":3,"workerTerminationTimeout":"10s","workerAvailabilityTimeoutMilliseconds":10000,"maxInflight":64,"maxAttempts":3,"onExhausted":"deadLetter","attributes":{"port":8123,"readBufferSize":16384,"maxRequestBodySize":1000,"cors":{"enabled":false,"allowOrigins":["*"],"allowMethods":["HEAD","GET","POST","PUT","DELETE","OPTIONS","PATCH"],"allowHeaders":["Accept","Content-Length","Content-Type","Authorization","X-Nuclio-Log-Level"],"allowCredentials":false,"exposeHeaders":[],"preflightRequestMethod":"OPTIONS","preflightMaxAgeSeconds":5}},"explicitAckMode":"disable"}},"build":{"path":"DIR/work/code"},"isolation":"standard","loggerSinks":[{"level":"warn"}]}}"#]].assert_eq(&handed_over(&desk.said(over.env("MAX", "1000"))));
}

#[test]
fn a_comment_block_in_the_source_is_configuration_too() {
    let desk = Desk::new();
    let block = "\
# @nuclio.configure
#
# function.yaml:
#   metadata:
#     name: inline
#   spec:
#     handler: go
#     triggers:
#       web: {kind: http, numWorkers: 2}

";
    desk.file("hello.py", &format!("{block}{HELLO}"));
    expect![[r#"
        --config-fd
        3
        --namespace
        default
        --log-format
        people
        --runtimes
        DIR/installed/runtimes
        config {"apiVersion":"nuclio.io/v1","kind":"Function","metadata":{"name":"inline","namespace":"default"},"spec":{"handler":"go","runtime":"python","triggers":{"web":{"kind":"http","numWorkers":2,"workerTerminationTimeout":"10s","workerAvailabilityTimeoutMilliseconds":10000,"maxInflight":64,"maxAttempts":3,"onExhausted":"deadLetter","attributes":{"readBufferSize":16384,"maxRequestBodySize":4194304,"cors":{"enabled":false,"allowOrigins":["*"],"allowMethods":["HEAD","GET","POST","PUT","DELETE","OPTIONS","PATCH"],"allowHeaders":["Accept","Content-Length","Content-Type","Authorization","X-Nuclio-Log-Level"],"allowCredentials":false,"exposeHeaders":[],"preflightRequestMethod":"OPTIONS","preflightMaxAgeSeconds":5}},"explicitAckMode":"disable"}},"build":{"path":"DIR/work/hello.py"},"isolation":"standard"}}"#]].assert_eq(&handed_over(&desk.typed(&["run", "hello.py"])));

    desk.file("f.yaml", "{apiVersion: nuclio.io/v1, kind: Function, metadata: {name: other}}");
    let said = desk.typed(&["run", "hello.py", "-f", "f.yaml"]);
    expect![[r#"
        warning: hello.py: its @nuclio.configure block is not read, because f.yaml is
    "#]]
    .assert_eq(&said.stderr);
    assert!(said.stdout.contains(r#""name":"other""#), "{said:?}");

    desk.file("hello.py", &block.replace("numWorkers: 2", "numWorkers: none"));
    check_refusal(
        &desk.typed(&["run", "hello.py"]),
        &expect![[r#"
        2
        error: hello.py (@nuclio.configure): spec.triggers.web.numWorkers: "none" is not allowed here; write a whole number from 1 to 100000, or auto (line 9)
    "#]],
    );
}

#[test]
fn code_inside_function_yaml_is_served() {
    let desk = Desk::new();
    let yaml = |code: &str| {
        format!(
            "{{apiVersion: nuclio.io/v1, kind: Function, metadata: {{name: inside}}, \
             spec: {{runtime: python, handler: 'main:handler', \
             build: {{functionSourceCode: '{code}'}}}}}}"
        )
    };
    desk.file("f.yaml", &yaml("cGFzcwo="));
    let said = desk.typed(&["run", "-f", "f.yaml"]);
    let config = said.stdout.lines().find_map(|line| line.strip_prefix("config ")).unwrap();
    let path = config.split(r#""path":""#).nth(1).unwrap().split('"').next().unwrap();
    assert!(path.ends_with("/main.py") && path.starts_with("DIR/state/code/inside-"), "{path}");
    let file = path.replace("DIR", desk.cwd().parent().unwrap().to_str().unwrap());
    assert_eq!(std::fs::read_to_string(file).unwrap(), "pass\n");

    desk.file("f.yaml", &yaml("def handler"));
    check_refusal(
        &desk.typed(&["run", "-f", "f.yaml"]),
        &expect![[r#"
        2
        error: f.yaml: spec.build.functionSourceCode: is not base64; write what base64 makes of the code
    "#]],
    );
}

#[test]
fn python_is_that_of_the_neighbouring_environment() {
    let desk = Desk::new();
    desk.file("code/hello.py", HELLO);
    desk.file("code/.venv/pyvenv.cfg", "");
    desk.program("code/.venv/bin/python3", "#!/bin/sh\n");
    let said = desk.typed(&["run", "code/hello.py"]);
    assert!(
        said.stdout.contains("argument --python\nargument DIR/work/code/.venv/bin/python3\n"),
        "{said:?}"
    );
    let mut active = desk.command(&["run", "code/hello.py"]);
    check_refusal(
        &desk.said(active.env("VIRTUAL_ENV", "/nowhere")),
        &expect![[r#"
        2
        error: VIRTUAL_ENV: the virtual environment /nowhere cannot be used: /nowhere/bin/python3 does not exist; activate another, run deactivate, or name an interpreter with --python
    "#]],
    );
}

#[test]
fn all_mistakes_are_told_at_once() {
    let desk = Desk::new();
    let words = [
        "run",
        "Bad Name",
        "helo.py",
        "--port",
        "99999",
        "--host",
        "here",
        "--workers",
        "0",
        "--admin",
        "x",
        "--log-level",
        "inof",
        "-e",
        "NOVALUE",
        "-e",
        "1A=2",
        "--trigger",
        "cron,x",
        "--runtime",
        "pyhton",
        "-n",
        "Shop",
    ];
    check_refusal(
        &desk.typed(&words),
        &expect![[r#"
        2
        error: --port: "99999" is no port; write a number from 1 to 65535, or 0 for a free one
        error: --host: "here" is no address; write 127.0.0.1, ::1, or 0.0.0.0 for all of them
        error: --workers: "0" is no number of workers; write a number from 1 to 100000, or auto
        error: --admin: "x" is no address; write HOST:PORT, such as 127.0.0.1:8081, or :8081
        error: --log-level: "inof" is no level; did you mean info?
        error: FILE: there is no file helo.py; write the path of one that exists
        error: --runtime: pyhton is no runtime; did you mean python?
        error: --env: "NOVALUE" has no =; write KEY=VALUE
        error: --env: "1A" is no name of a variable; use letters, digits, _, - and ., and no digit first
        error: --trigger: "cron,x" has "x" where KEY=VALUE belongs; write KIND,KEY=VALUE, such as cron,interval=5s
        error: NAME: "Bad Name" has 'B'; lower-case letters, digits and - are possible; write bad-name
        error: --namespace: "Shop" has 'S'; lower-case letters, digits and - are possible; write shop
    "#]],
    );
}

#[test]
fn mistakes_in_the_environment_are_told_by_its_names() {
    let desk = Desk::new();
    desk.file("hello.py", HELLO);
    let mut command = desk.command(&["run", "hello.py"]);
    command.env("PORT", "http").env("NUCLIO_WORKERS", "none").env("NUCLIO_ENV", "X");
    command.env("NUCLIO_NAMESPACE", "Shop");
    check_refusal(
        &desk.said(&mut command),
        &expect![[r#"
            2
            error: PORT: "http" is no port; write a number from 1 to 65535, or 0 for a free one
            error: NUCLIO_WORKERS: "none" is no number of workers; write a number from 1 to 100000, or auto
            error: NUCLIO_ENV: "X" has no =; write KEY=VALUE
            error: NUCLIO_NAMESPACE: "Shop" has 'S'; lower-case letters, digits and - are possible; write shop
        "#]],
    );
}

#[test]
fn every_mistake_in_function_yaml_is_told() {
    let desk = Desk::new();
    desk.file(
        "function.yaml",
        "\
apiVersion: nuclio.io/v2
kind: Function
metadata:
  name: Hello
spec:
  handlr: a
  runtime: pyton
  eventTimeout: 30
  triggers:
    x:
      kind: htp
    y:
      kind: http
      numWorkers: 0
",
    );
    check_refusal(
        &desk.typed(&["run", "-f", "function.yaml"]),
        &expect![[r#"
        2
        error: function.yaml: apiVersion: "nuclio.io/v2" is not known; did you mean nuclio.io/v1? (line 1)
        error: function.yaml: metadata.name: "Hello" has 'H'; lower-case letters, digits and - are possible; write hello (line 4)
        error: function.yaml: spec.handlr: unknown key; did you mean handler? (line 6)
        error: function.yaml: spec.runtime: "pyton" is not a known language; did you mean python? (line 7)
        error: function.yaml: spec.eventTimeout: 30 has no unit after 30; write a duration such as 30s, 1m30s or 250ms (line 8)
        error: function.yaml: spec.triggers.x.kind: "htp" is not known; did you mean http? (line 11)
        error: function.yaml: spec.triggers.y.numWorkers: 0 is not allowed here; write a whole number from 1 to 100000, or auto (line 14)
    "#]],
    );
    desk.file("broken.yaml", "spec: [\n");
    check_refusal(
        &desk.typed(&["run", "-f", "broken.yaml"]),
        &expect![[r#"
        2
        error: broken.yaml: not valid YAML: unclosed bracket '[', column 7 (line 1)
    "#]],
    );
    std::fs::write(desk.cwd().join("binary.yaml"), b"\xff\xfe").unwrap();
    check_refusal(
        &desk.typed(&["run", "-f", "binary.yaml"]),
        &expect![[r#"
        2
        error: binary.yaml: is not UTF-8 text; save it in UTF-8
    "#]],
    );
}

#[test]
fn triggers_that_do_not_go_together_are_told() {
    let desk = Desk::new();
    desk.file("hello.py", HELLO);
    let words = ["run", "hello.py", "--trigger", "http", "--trigger", "http,name=other"];
    check_refusal(
        &desk.typed(&words),
        &expect![[r#"
        2
        error: spec.triggers.other.kind: a second HTTP trigger; default-http is the first; keep one: every path and method reaches the same handler
    "#]],
    );
}

#[test]
fn sources_that_cannot_be_served_are_told() {
    let desk = Desk::new();
    desk.file("hello.js", "");
    desk.file("notes.txt", "");
    desk.file("two/a.py", "");
    desk.file("two/b.py", "");
    desk.file("none/readme.md", "");
    let cases: [&[&str]; 8] = [
        &["run"],
        &["run", "greeter"],
        &["run", "hello.js"],
        &["run", "notes.txt"],
        &["run", "two"],
        &["run", "none"],
        &["run", "two", "--handler", "c:handler"],
        &["run", "two/a.py", "--handler", "b:handler"],
    ];
    let told: Vec<_> = cases.iter().map(|words| desk.typed(words).refusal()).collect();
    expect![[r#"
        2
        error: nothing to serve; write nuclio run FILE, such as nuclio run hello.py
        2
        error: there is no file greeter, and nothing to serve for a function of that name; write nuclio run greeter FILE, or -f function.yaml
        2
        error: hello.js: its runtime, nodejs, is not installed here; installed: python (.py)
        2
        error: notes.txt: its name does not tell its runtime; say --runtime NAME; installed: python (.py)
        2
        error: two has several files that may hold the handler (a.py, b.py); name the one to serve, or say --handler MODULE:FUNCTION
        2
        error: none has no handler file; put one there that ends in .py, or name another folder
        2
        error: the handler names the module c, which is not in two (a.py, b.py); write one that is
        2
        error: the handler names the module b, but the file is a.py; write a:FUNCTION, or name the other file
    "#]].assert_eq(&told.join(""));
}

#[test]
fn a_missing_installation_is_told() {
    let desk = Desk::new();
    desk.file("hello.py", HELLO);
    let mut command = desk.command(&["run", "hello.py"]);
    command.env("NUCLIO_PROCESSOR", "/nowhere/processor").env("NUCLIO_RUNTIMES", "/nowhere");
    check_refusal(
        &desk.said(&mut command),
        &expect![[r#"
        2
        error: NUCLIO_PROCESSOR: /nowhere/processor does not exist; name the processor program, or unset it
        error: NUCLIO_RUNTIMES: /nowhere is not a folder; name the folder that holds the runtimes (python and others), or unset it
    "#]],
    );

    let odd = desk.program("odd", "#!/nowhere/interpreter\n");
    let mut command = desk.command(&["run", "hello.py"]);
    check_refusal(
        &desk.said(command.env("NUCLIO_PROCESSOR", &odd)),
        &expect![[r#"
            2
            error: the processor DIR/work/odd cannot be started: No such file or directory (os error 2); install nuclio anew, or set NUCLIO_PROCESSOR to another
        "#]],
    );
}

#[test]
fn help_shows_flags_with_their_twins() {
    let desk = Desk::new();
    let help = desk.typed(&["run", "--help"]);
    assert_eq!((help.code, &*help.stderr), (Some(0), ""));
    for flag in help.stdout.lines().filter(|line| line.trim_start().starts_with('-')) {
        // Each flag's text ends before the next one begins.
        let text = help.stdout.split(flag).nth(1).unwrap();
        let text = text.split("\n  -").next().unwrap().split("\n      --").next().unwrap();
        assert!(text.contains("[env: ") || flag.contains("--help"), "{flag} has no twin");
    }
    let version = desk.typed(&["--version"]);
    assert_eq!(version.stdout, concat!("nuclio ", env!("CARGO_PKG_VERSION"), "\n"));
    let nothing = desk.typed(&[]);
    assert_eq!(nothing.code, Some(2));
}

#[test]
fn completion_is_printed_for_each_shell() {
    let desk = Desk::new();
    for (shell, sign) in [("bash", "complete -F"), ("zsh", "#compdef"), ("fish", "complete -c")] {
        let said = desk.typed(&["completion", shell]);
        assert_eq!((said.code, &*said.stderr), (Some(0), ""), "{shell}");
        assert!(said.stdout.contains(sign), "{shell}");
    }
    check_refusal(
        &desk.typed(&["completion", "csh"]),
        &expect![[r#"
        2
        error: invalid value 'csh' for '<SHELL>'; [possible values: bash, zsh, fish]; a similar value exists: 'zsh'; --help shows how it is used
    "#]],
    );
}
