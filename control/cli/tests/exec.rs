//! `nuclio exec` from outside: what it sends, what it shows, and how it ends.

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;

use expect_test::expect;
use rustix::process::{Pid, Signal, kill_process};
use support::{Answering, Desk, Said};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

/// Everything a user sees, and the code their script does.
fn seen(said: &Said) -> String {
    format!("{}\n--\n{}\n--\n{}", said.code.unwrap_or(-1), said.stdout, said.stderr)
}

/// What the server got for these flags, without what every request has.
fn request(desk: &Desk, flags: &[&str]) -> String {
    let server = Answering::with(OK);
    let address = server.address.clone();
    let mut words = vec!["exec", &address];
    words.extend(flags);
    let said = desk.typed(&words);
    assert_eq!(said.code, Some(0), "{said:?}");
    let mut lines: Vec<String> = server.request().lines().map(str::to_owned).collect();
    lines.retain(|line| !line.starts_with("host:") && !line.starts_with("user-agent:"));
    lines.join("\n")
}

#[test]
fn the_reply_is_shown() {
    let desk = Desk::new();
    let reply = "HTTP/1.1 201 Created\r\nServer: nuclio\r\nTransfer-Encoding: chunked\r\n\
                 X-Nuclio-Logs: [{\"level\":\"info\",\"message\":\"made\",\"id\":7}]\r\n\r\n\
                 3\r\nab\n\r\n2\r\ncd\r\n0\r\n\r\n";
    let server = Answering::with(reply);
    expect![[r#"
        0
        --
        ab
        cd
        --
        HTTP/1.1 201 Created
        info  made id=7
    "#]]
    .assert_eq(&seen(&desk.typed(&["exec", &server.address])));
    let server = Answering::with(reply);
    expect![[r#"
        0
        --
        ab
        cd
        --
        HTTP/1.1 201 Created
        server: nuclio
        transfer-encoding: chunked
        info  made id=7
    "#]]
    .assert_eq(&seen(&desk.typed(&["exec", &server.address, "-v"])));
}

#[test]
fn every_status_is_a_reply_and_some_are_failures() {
    let desk = Desk::new();
    for (head, code) in [
        ("HTTP/1.1 204 No Content\r\n\r\n", 0),
        ("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", 0),
        ("HTTP/1.1 307 x\r\nLocation: /again\r\nContent-Length: 2\r\n\r\nhi", 0),
        ("HTTP/1.1 399 Odd\r\nContent-Length: 0\r\n\r\n", 0),
        ("HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno", 1),
        ("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", 1),
        ("HTTP/1.1 599 Odd\r\nContent-Length: 0\r\n\r\n", 1),
    ] {
        for body in [None, Some("x")] {
            let server = Answering::with(head);
            let mut command = desk.command(&["exec", &server.address]);
            command.args(body.map(|body| ["-b", body]).into_iter().flatten());
            let said = desk.said(&mut command);
            assert_eq!(said.code, Some(code), "{head} {said:?}");
            assert!(said.stderr.starts_with(&head[..12]), "{head} {said:?}");
        }
    }
}

#[test]
fn bytes_stay_bytes() {
    let desk = Desk::new();
    let mut reply = b"HTTP/1.1 200 OK\r\nX-Odd: caf\xe9\r\nContent-Length: 4\r\n\r\n".to_vec();
    reply.extend(b"\xff\x00\n\xfe");
    let server = Answering::with(reply.clone());
    let output = desk.command(&["exec", &server.address]).output().unwrap();
    assert_eq!(output.stdout, b"\xff\x00\n\xfe");
    let server = Answering::with(reply);
    expect![[r#"
        0
        --
        {
          "body_base64": "/wAK/g==",
          "headers": {
            "content-length": [
              "4"
            ],
            "x-odd": [
              "caf�"
            ]
          },
          "logs": [],
          "status": 200
        }

        --
    "#]]
    .assert_eq(&seen(&desk.typed(&["exec", &server.address, "-o", "json"])));
}

#[test]
fn the_reply_is_one_document_for_programs() {
    let desk = Desk::new();
    let reply = "HTTP/1.1 404 Not Found\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\
                 X-Nuclio-Logs: [{\"level\":\"warn\",\"message\":\"gone\"}]\r\n\
                 Content-Length: 3\r\n\r\nno\n";
    for form in ["json", "yaml"] {
        let server = Answering::with(reply);
        let said = desk.typed(&["exec", &server.address, "-o", form]);
        match form {
            "json" => expect![[r#"
                1
                --
                {
                  "body": "no\n",
                  "headers": {
                    "content-length": [
                      "3"
                    ],
                    "set-cookie": [
                      "a=1",
                      "b=2"
                    ]
                  },
                  "logs": [
                    {
                      "level": "warn",
                      "message": "gone"
                    }
                  ],
                  "status": 404
                }

                --
            "#]]
            .assert_eq(&seen(&said)),
            _ => expect![[r#"
                1
                --
                body: |
                  no
                headers:
                  content-length:
                  - "3"
                  set-cookie:
                  - a=1
                  - b=2
                logs:
                - level: warn
                  message: gone
                status: 404

                --
            "#]]
            .assert_eq(&seen(&said)),
        }
    }
}

#[test]
fn the_request_is_what_the_flags_say() {
    let desk = Desk::new();
    std::fs::write(desk.cwd().join("photo"), b"\xff\xd8\xff").unwrap();
    desk.file("data.json", "{\"a\": 1}");
    let told = [
        request(&desk, &[]),
        request(&desk, &["-b", "hello"]),
        request(&desk, &["-b", "@data.json", "--path", "/a b?x=1"]),
        request(&desk, &["-b", "@photo", "-m", "put", "-c", "image/jpeg", "-l", "none"]),
        request(&desk, &["-m", "POST", "-H", "X-A: 1", "-H", "x-a:2", "-l", "debug"]),
        request(&desk, &["-m", "GET", "-b", "with a body"]),
        request(&desk, &["-m", "PROPFIND", "-H", "Content-Type: x/y", "-b", "-"]),
        request(&desk, &["-m", "DELETE"]),
    ];
    expect![[r#"
        GET / HTTP/1.1
        accept: */*
        x-nuclio-log-level: info

        ---
        POST / HTTP/1.1
        content-length: 5
        accept: */*
        content-type: text/plain; charset=utf-8
        x-nuclio-log-level: info

        hello
        ---
        POST /a%20b?x=1 HTTP/1.1
        content-length: 8
        accept: */*
        content-type: application/json
        x-nuclio-log-level: info

        {"a": 1}
        ---
        PUT / HTTP/1.1
        content-length: 3
        accept: */*
        content-type: image/jpeg

        ���
        ---
        POST / HTTP/1.1
        content-length: 0
        accept: */*
        x-a: 1
        x-a: 2
        x-nuclio-log-level: debug

        ---
        GET / HTTP/1.1
        content-length: 11
        accept: */*
        content-type: text/plain; charset=utf-8
        x-nuclio-log-level: info

        with a body
        ---
        PROPFIND / HTTP/1.1
        content-length: 0
        accept: */*
        content-type: x/y
        x-nuclio-log-level: info

        ---
        DELETE / HTTP/1.1
        accept: */*
        x-nuclio-log-level: info
    "#]]
    .assert_eq(&told.join("\n---\n"));
}

#[test]
fn the_environment_can_say_it_too() {
    let desk = Desk::new();
    let server = Answering::with(OK);
    let mut command = desk.command(&["exec", &server.address]);
    command
        .env("NUCLIO_EXEC_METHOD", "PUT")
        .env("NUCLIO_EXEC_BODY", "hi")
        .env("NUCLIO_EXEC_HEADER", "X-A: 1\nX-B: 2")
        .env("NUCLIO_EXEC_PATH", "p")
        .env("http_proxy", "http://127.0.0.1:1");
    assert_eq!(desk.said(&mut command).code, Some(0));
    let request = server.request();
    assert!(request.starts_with("PUT /p HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("x-a: 1\r\n") && request.contains("x-b: 2\r\n"), "{request}");
}

#[test]
fn a_large_body_hears_its_refusal() {
    let desk = Desk::new();
    std::fs::write(desk.cwd().join("large"), vec![b'x'; 3 << 20]).unwrap();
    let server = Answering::with("HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n");
    let said = desk.typed(&["exec", &server.address, "-b", "@large"]);
    assert_eq!((said.code, &*said.stderr), (Some(1), "HTTP/1.1 413 Payload Too Large\n"));
}

#[test]
fn a_name_is_found_in_the_local_registry() {
    let desk = Desk::new();
    let told = desk.typed(&["exec", "hello", "-n", "shop"]);
    expect![[r#"
        1
        error: no function called hello is running in namespace shop; start it with: nuclio run hello
    "#]].assert_eq(&told.refusal());

    let server = Answering::with(OK);
    let folder = desk.state_dir().join("run/default/hello");
    std::fs::create_dir_all(&folder).unwrap();
    let lock = File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    let state = |url: &str| {
        let state = format!(r#"{{"name":"hello","pid":{},"url":{url}}}"#, std::process::id());
        std::fs::write(folder.join("state.json"), state).unwrap();
    };
    state(&format!("\"http://{}\"", server.address));
    let said = desk.typed(&["exec", "hello", "--path", "x"]);
    assert_eq!((said.code, &*said.stdout), (Some(0), "hi"), "{said:?}");
    assert!(server.request().starts_with("GET /x HTTP/1.1\r\n"));

    state("\"http://127.0.0.1:1\"");
    expect![[r#"
        1
        error: the function hello at 127.0.0.1:1 cannot be reached: connection refused
    "#]]
    .assert_eq(&desk.typed(&["exec", "hello"]).refusal());
    state("null");
    let said = desk.typed(&["exec", "hello"]);
    assert!(said.stderr.contains("has no HTTP trigger"), "{said:?}");
    state("5");
    expect![[r#"
        1
        error: DIR/state/run/default/hello/state.json is not the state of a function; start the function anew
    "#]].assert_eq(&desk.typed(&["exec", "hello"]).refusal());
}

#[test]
fn silence_and_broken_replies_are_told() {
    let desk = Desk::new();
    let refusal = |reply: &str, flags: &[&str]| {
        let server = Answering::with(reply);
        let address = server.address.clone();
        let mut words = vec!["exec", &address];
        words.extend(flags);
        desk.typed(&words).stderr.replace(&address, "ADDRESS")
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = listener.local_addr().unwrap().to_string();
    let late = desk.typed(&["exec", &silent, "-t", "100ms"]);
    assert_eq!(late.code, Some(1));
    let told = [
        late.stderr.replace(&silent, "ADDRESS"),
        refusal("", &[]),
        refusal("SSH-2.0-OpenSSH_9\r\n\r\n", &[]),
        refusal("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi", &[]),
        desk.typed(&["exec", "http://127.0.0.1:1"]).stderr,
    ];
    expect![[r#"
        error: no whole reply from ADDRESS within 100ms; wait longer with --timeout, as in -t 5m
        error: ADDRESS closed the connection without a whole reply
        error: ADDRESS did not answer with HTTP: http parse fail: invalid HTTP version
        HTTP/1.1 200 OK
        error: the reply broke off: its end is missing
        error: 127.0.0.1:1 cannot be reached: connection refused
    "#]]
    .assert_eq(&told.join(""));
}

#[test]
fn a_reply_that_stops_half_way_is_late() {
    let desk = Desk::new();
    let (held, hold) = std::sync::mpsc::sync_channel::<()>(1);
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi".to_vec();
    let server = Answering::by(
        move |stream, reply| {
            stream.write_all(reply).unwrap();
            let _ = hold.recv();
        },
        head,
    );
    let said = desk.typed(&["exec", &server.address, "-t", "200ms"]);
    drop(held);
    expect![[r#"
        1
        --
        hi
        --
        HTTP/1.1 200 OK
        error: the reply broke off: it took longer than --timeout allows; wait longer, as in -t 5m
    "#]]
    .assert_eq(&seen(&said));
}

#[test]
fn wrong_usage_is_told_at_once() {
    let desk = Desk::new();
    let words = [
        "exec", "Hello!", "-m", "G T", "-t", "soon", "-l", "loud", "-H", "x", "-b", "@gone", "-n",
        "Shop",
    ];
    expect![[r#"
        2
        error: NAME|URL: "Hello!" has 'H'; lower-case letters, digits and - are possible; write hello
        error: --method: "G T" is no HTTP method; write one word, such as GET, POST or DELETE
        error: --log-level: "loud" is no level; write one of debug, info, warn, error, none
        error: --timeout: "soon" has the unknown unit "soon"; write a time such as 10s, 500ms or 2m
        error: --header: "x" has no colon; write it as 'Name: value', such as 'X-User: ada'
        error: --namespace: "Shop" has 'S'; lower-case letters, digits and - are possible; write shop
        error: --body: there is no file gone; write @FILE for a file's bytes, or the text itself
    "#]].assert_eq(&desk.typed(&words).refusal());
}

#[test]
fn nobody_reading_is_no_failure() {
    let desk = Desk::new();
    let mut reply = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n".to_vec();
    reply.extend(vec![b'x'; 1_000_000]);
    let server = Answering::with(reply);
    let mut child = desk.command(&["exec", &server.address]).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 10]).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "HTTP/1.1 200 OK\n");
}

#[test]
fn ctrl_c_ends_with_130() {
    let desk = Desk::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let child = desk.command(&["exec", &address]).spawn().unwrap();
    // Its request is here, so it is waiting for the reply.
    let (mut stream, _) = listener.accept().unwrap();
    stream.read_exact(&mut [0; 1]).unwrap();
    let pid = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));
}

#[test]
fn no_colour_where_nobody_looks() {
    let desk = Desk::new();
    let mut command = desk.command(&["exec", "gone"]);
    let said = desk.said(command.env("CLICOLOR_FORCE", "1"));
    assert!(!said.stderr.contains('\x1b'), "{said:?}");
}
