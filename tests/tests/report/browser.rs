//! A headless Chromium, driven over the DevTools protocol.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::stream::MaybeTlsStream;
use tungstenite::{Message, WebSocket};

/// Names that the program goes by.
const PROGRAMS: [&str; 4] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "headless-shell",
];
/// What a page is waited for, at most: a machine that builds something else is slow.
const PATIENCE: Duration = Duration::from_secs(120);

/// A browser with one page.
pub struct Browser {
    child: Child,
    socket: WebSocket<MaybeTlsStream<TcpStream>>,
    session: String,
    next_id: u64,
    complaints: Vec<String>,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts the browser; `None` where none is installed.
    ///
    /// # Panics
    /// Where it is installed and does not start.
    pub fn start() -> Option<Self> {
        let profile = tempfile::tempdir().expect("a temporary folder");
        let mut child = PROGRAMS.iter().find_map(|program| {
            Command::new(program)
                .args([
                    "--headless",
                    "--no-sandbox",
                    "--disable-gpu",
                    "--disable-background-networking",
                    "--disable-component-update",
                    "--disable-sync",
                    "--disable-dev-shm-usage",
                    "--no-first-run",
                    "--remote-debugging-port=0",
                ])
                .arg(format!("--user-data-dir={}", profile.path().display()))
                .arg("about:blank")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .ok()
        })?;
        let mut stderr = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let mut said = String::new();
        let address = loop {
            let mut line = String::new();
            let count = stderr.read_line(&mut line).expect("the browser's stderr");
            assert!(count > 0, "the browser ended: {said}");
            if let Some((_, address)) = line.split_once("DevTools listening on ") {
                break address.trim().to_string();
            }
            said.push_str(&line);
        };
        // What it goes on to say must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        let (socket, _) = tungstenite::connect(address).expect("the browser's socket");
        let mut browser = Self {
            child,
            socket,
            session: String::new(),
            next_id: 0,
            complaints: Vec::new(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let attached = browser.call(
            "Target.attachToTarget",
            json!({"targetId": target["targetId"], "flatten": true}),
        );
        browser.session = attached["sessionId"].as_str().expect("a session").into();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    /// Calls a method of the protocol and gives its result.
    ///
    /// # Panics
    /// Where the browser refuses it or does not answer.
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.next_id += 1;
        let mut message = json!({"id": self.next_id, "method": method, "params": parameters});
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        let message = Message::text(message.to_string());
        self.socket.send(message).expect("the browser listens");
        loop {
            let answer = self.receive();
            if answer["id"] == self.next_id {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }

    /// The next message; errors of the page and requests to the outside are noted.
    fn receive(&mut self) -> Value {
        let message = self.socket.read().expect("the browser speaks");
        let Message::Text(text) = message else {
            return Value::Null;
        };
        let value: Value = serde_json::from_str(text.as_str()).expect("the protocol is JSON");
        let parameters = &value["params"];
        let is_complaint = match value["method"].as_str().unwrap_or_default() {
            "Runtime.exceptionThrown" => true,
            "Runtime.consoleAPICalled" => parameters["type"] == "error",
            "Log.entryAdded" => {
                ["error", "warning"].contains(&parameters["entry"]["level"].as_str().unwrap_or(""))
            }
            "Network.requestWillBeSent" => {
                let url = parameters["request"]["url"].as_str().unwrap_or_default();
                !url.starts_with("data:") && !url.starts_with("file:")
            }
            _ => false,
        };
        if is_complaint {
            self.complaints.push(parameters.to_string());
        }
        value
    }

    /// Opens a file and waits until it is loaded; gives the milliseconds until its DOM was ready.
    ///
    /// # Panics
    /// Where it can't be opened.
    pub fn open(&mut self, path: &Path) -> f64 {
        let path = path.canonicalize().expect("the page is there");
        let url = format!("file://{}", path.display());
        let result = self.call("Page.navigate", json!({"url": url}));
        assert!(result.get("errorText").is_none(), "{result}");
        self.wait_for("location.protocol === 'file:' && document.readyState === 'complete'");
        let timing = "performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd";
        self.evaluate(timing).as_f64().expect("a time")
    }

    /// The value of a script's expression; promises are awaited.
    ///
    /// # Panics
    /// Where it throws.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let result = self.call(
            "Runtime.evaluate",
            json!({"expression": expression, "returnByValue": true, "awaitPromise": true}),
        );
        assert!(
            result.get("exceptionDetails").is_none(),
            "{expression}: {result}"
        );
        result["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    ///
    /// # Panics
    /// Where it does not become true.
    pub fn wait_for(&mut self, expression: &str) {
        let start = Instant::now();
        while self.evaluate(expression) != json!(true) {
            assert!(start.elapsed() < PATIENCE, "never true: {expression}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Presses and releases a key, as a keyboard would: `Enter`, `ArrowRight`, `+`.
    pub fn press(&mut self, key: &str) {
        let code = match key {
            "Enter" => 13,
            "Escape" => 27,
            "Tab" => 9,
            "ArrowRight" => 39,
            "ArrowLeft" => 37,
            _ => 0,
        };
        let text = match key {
            "Enter" => "\r",
            _ if key.chars().count() == 1 => key,
            _ => "",
        };
        let mut down = json!({"type": "keyDown", "key": key, "windowsVirtualKeyCode": code});
        if !text.is_empty() {
            down["text"] = json!(text);
        }
        self.call("Input.dispatchKeyEvent", down);
        let up = json!({"type": "keyUp", "key": key, "windowsVirtualKeyCode": code});
        self.call("Input.dispatchKeyEvent", up);
    }

    /// The window's size in CSS pixels, and whether the system's colours are dark.
    pub fn window(&mut self, width: u32, height: u32, is_dark: bool) {
        self.call(
            "Emulation.setDeviceMetricsOverride",
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}),
        );
        let scheme = if is_dark { "dark" } else { "light" };
        self.call(
            "Emulation.setEmulatedMedia",
            json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]}),
        );
    }

    /// Errors and warnings of the pages so far, and addresses that they asked for.
    pub fn complaints(&self) -> &[String] {
        &self.complaints
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
