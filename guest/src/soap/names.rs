//! What only some dialects ask of a document: namespaces, and where in the body something stands.

use super::{Document, Node};

impl Document<'_> {
    /// The namespace of an element; empty: none.
    pub fn namespace(&self, node: Node) -> &str {
        let prefix = self.elements[node].prefix;
        let mut above = Some(node);
        while let Some(node) = above {
            let (from, to) = self.elements[node].namespaces;
            if let Some((_, uri)) = self.namespaces[from..to].iter().find(|(declared, _)| *declared == prefix) {
                return uri;
            }
            above = self.elements[node].parent;
        }
        ""
    }

    /// Where in the body an element's content stands: offset and length in bytes.
    pub fn content_place(&self, node: Node) -> (usize, usize) {
        let (from, to) = self.elements[node].content;
        (self.skipped + from, to - from)
    }

    /// The attributes of an element: name, value, and where in the body the value stands (offset and length in bytes).
    pub fn attributes(&self, node: Node) -> impl Iterator<Item = (&str, &str, (usize, usize))> {
        let (from, to) = self.elements[node].attributes;
        let places = self.attribute_places[from..to].iter();
        let attributes = self.attributes[from..to].iter();
        attributes
            .zip(places)
            .map(|((name, value), (start, length))| (*name, value.as_ref(), (self.skipped + start, *length)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_follow_prefixes_and_what_stands_above() {
        let body =
            br#"<s:E xmlns:s="soap" xmlns="outer"><a x="1"><b xmlns="inner" xmlns:s="other"><s:c/></b></a></s:E>"#;
        let document = Document::parse(body).expect("well-formed");
        let names: Vec<_> = (0..4).map(|node| (document.name(node), document.namespace(node))).collect();
        assert_eq!(names, [("E", "soap"), ("a", "outer"), ("b", "inner"), ("c", "other")]);
        let bare = Document::parse(b"<a/>").expect("well-formed");
        assert_eq!(bare.namespace(0), "");
    }

    #[test]
    fn places_are_those_in_the_body() {
        let body = "\u{FEFF}<a p='x&amp;y'><t>\u{e4}&lt;<![CDATA[q]]></t><e/></a>".as_bytes();
        let document = Document::parse(body).expect("well-formed");
        let at = |(start, length): (usize, usize)| std::str::from_utf8(&body[start..start + length]).expect("UTF-8");
        let (name, value, place) = document.attributes(0).next().expect("one");
        assert_eq!((name, value, at(place)), ("p", "x&y", "x&amp;y"));
        assert_eq!(at(document.content_place(1)), "\u{e4}&lt;<![CDATA[q]]>");
        assert_eq!(at(document.content_place(2)), "");
    }
}
