//! The frame of every page: head, style, script, and text made safe.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Everything of a page before its content.
///
/// The policy in it lets nothing be fetched and no script run but the page's own.
pub(super) fn head(title: &str) -> String {
    let script_hash = STANDARD.encode(Sha256::digest(SCRIPT));
    let title = escape(title);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; \
         style-src 'unsafe-inline'; script-src 'sha256-{script_hash}'; base-uri 'none'; \
         form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}</style></head>\n<body>\n<h1>{title}</h1>\n"
    )
}

/// Everything of a page after its content.
pub(super) fn foot() -> String {
    format!("<script>{SCRIPT}</script>\n</body></html>\n")
}

/// A whole page; `body` is HTML.
pub(super) fn document(title: &str, body: &str) -> String {
    format!("{}{body}{}", head(title), foot())
}

/// A value as JSON that can stand in a `script` element: nothing in it ends the element.
///
/// # Errors
/// [`Error::Data`] where the value has no JSON form.
pub(super) fn json_block(value: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string(value)
        .map_err(|e| Error::Data(format!("page can't be written as JSON: {e}")))?;
    Ok(text.replace('<', "\\u003c"))
}

/// Text for HTML content and attributes. Control characters, which HTML does not allow, become
/// U+FFFD.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() && c != '\n' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_can_not_break_out_of_the_page() {
        assert_eq!(
            super::escape("<img src='x' onerror=\"y\">&\u{1b}"),
            "&lt;img src=&#39;x&#39; onerror=&quot;y&quot;&gt;&amp;\u{fffd}"
        );
    }
}
