//! The fields of an entry that GroupWise knows, named by their paths in the schema (types.xsd), in its order.

use crate::book::Kind;

/// What a value must look like, so that the answer is valid; another is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Any text.
    Text,
    /// xs:date.
    Date,
    /// xs:dateTime.
    Instant,
    /// xs:unsignedInt, and xs:int from 0 on.
    Count,
    /// xs:boolean.
    Flag,
    /// Who may see it.
    Visibility,
    /// The name of another entry, mostly of this kind; the field's label is that entry's id.
    Reference(Kind),
}

/// A field by itself, or within the element that gathers some.
pub type Named = (&'static str, Shape);

/// An element that gathers fields.
pub type Gathered = (&'static str, &'static [Named]);

/// Of every entry, before its container.
pub const ITEM: [Named; 2] = [("version", Shape::Count), ("modified", Shape::Instant)];

/// Of every entry, after `sync`.
pub const DIRECTORY: [Named; 6] = [
    ("domain", Shape::Text),
    ("postOffice", Shape::Text),
    ("distinguishedName", Shape::Text),
    ("userid", Shape::Text),
    ("PABGuid", Shape::Text),
    ("visibility", Shape::Visibility),
];

/// Of a contact, before its addresses.
pub const FULL_NAME: Gathered = (
    "fullName",
    &[
        ("displayName", Shape::Text),
        ("namePrefix", Shape::Text),
        ("firstName", Shape::Text),
        ("middleName", Shape::Text),
        ("lastName", Shape::Text),
        ("nameSuffix", Shape::Text),
    ],
);

/// Of a contact, after its addresses.
pub const CONTACT: [Gathered; 4] = [
    (
        "officeInfo",
        &[
            ("organization", Shape::Reference(Kind::Organization)),
            ("department", Shape::Text),
            ("title", Shape::Text),
            ("website", Shape::Text),
            ("profession", Shape::Text),
            ("location", Shape::Text),
            ("manager", Shape::Text),
            ("assistant", Shape::Text),
        ],
    ),
    (
        "personalInfo",
        &[
            ("birthday", Shape::Date),
            ("website", Shape::Text),
            ("spouse", Shape::Text),
            ("children", Shape::Text),
            ("hobbies", Shape::Text),
            ("nickName", Shape::Text),
            ("weddingAnniversary", Shape::Date),
            ("displayBirthdayYear", Shape::Flag),
            ("displayAnniversaryYear", Shape::Flag),
        ],
    ),
    ("referenceInfo", &[("lastReferenceDate", Shape::Instant), ("referenceCount", Shape::Count)]),
    (
        "advancedInfo",
        &[
            ("freebusyWebsite", Shape::Text),
            ("teamingWebsite", Shape::Text),
            ("customerId", Shape::Text),
            ("governmentId", Shape::Text),
            ("organizationalId", Shape::Text),
            ("computerNetworkName", Shape::Text),
            ("ftpSite", Shape::Text),
            ("mileage", Shape::Text),
            ("userField1", Shape::Text),
            ("userField2", Shape::Text),
            ("userField3", Shape::Text),
            ("userField4", Shape::Text),
            ("BlackBerryPIN", Shape::Text),
        ],
    ),
];

/// Of a postal address.
pub const ADDRESS: [Named; 8] = [
    ("description", Shape::Text),
    ("streetAddress", Shape::Text),
    ("location", Shape::Text),
    ("city", Shape::Text),
    ("state", Shape::Text),
    ("postalCode", Shape::Text),
    ("country", Shape::Text),
    ("poBox", Shape::Text),
];

/// Of a resource, before its address.
pub const RESOURCE: [Named; 2] = [("phone", Shape::Text), ("resourceType", Shape::Text)];

/// Of an organization, before its postal address.
pub const ORGANIZATION: [Named; 3] =
    [("contact", Shape::Reference(Kind::Contact)), ("phone", Shape::Text), ("fax", Shape::Text)];

/// Labels of telephone numbers (PhoneNumberType).
pub const PHONES: [&str; 18] = [
    "Fax",
    "Home",
    "Mobile",
    "Office",
    "Pager",
    "CallBack",
    "Office2",
    "Radio",
    "Car",
    "Other",
    "Telex",
    "ISDN",
    "Assistant",
    "Home2",
    "FaxOffice",
    "FaxHome",
    "TTYTDD",
    "Company",
];

/// Labels of postal addresses (PostalAddressType).
pub const PLACES: [&str; 3] = ["Home", "Office", "Other"];

/// The label of the schema that is meant, without regard to case; any other is `Other`.
pub fn label(known: &[&'static str], label: &str) -> &'static str {
    known.iter().find(|name| name.eq_ignore_ascii_case(label)).unwrap_or(&"Other")
}

impl Shape {
    /// Whether a value may stand in an answer.
    pub fn fits(self, value: &str) -> bool {
        match self {
            Self::Text | Self::Reference(_) => true,
            Self::Date => is_date(value),
            Self::Instant => {
                let (date, time) = value.split_once('T').unwrap_or((value, ""));
                is_date(date) && is_time(time.strip_suffix('Z').unwrap_or(time))
            }
            Self::Count => value.len() <= 9 && is_number(value, 0, 999_999_999),
            Self::Flag => matches!(value, "0" | "1" | "true" | "false"),
            Self::Visibility => ["PostOffice", "Domain", "System", "Unlisted", "Unknown"].contains(&value),
        }
    }
}

/// `2026-08-22`.
fn is_date(text: &str) -> bool {
    let mut parts = text.split('-');
    let (Some(year), Some(month), Some(day), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let days = match month {
        "02" if is_leap(year) => 29,
        "02" => 28,
        "04" | "06" | "09" | "11" => 30,
        _ => 31,
    };
    let lengths = (year.len(), month.len(), day.len()) == (4, 2, 2);
    lengths && is_number(year, 1, 9999) && is_number(month, 1, 12) && is_number(day, 1, days)
}

fn is_leap(year: &str) -> bool {
    let year: u32 = year.parse().unwrap_or(1);
    year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400)
}

/// `10:00:01`, perhaps with a fraction.
fn is_time(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let mut parts = whole.split(':');
    let (Some(hour), Some(minute), Some(second), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let lengths = [hour, minute, second].iter().all(|part| part.len() == 2) && (1..=9).contains(&fraction.len());
    let numbers = is_number(hour, 0, 23) && is_number(minute, 0, 59) && is_number(second, 0, 59);
    lengths && numbers && is_number(fraction, 0, 999_999_999)
}

fn is_number(text: &str, from: u32, to: u32) -> bool {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits && text.parse().is_ok_and(|number| (from..=to).contains(&number))
}

#[cfg(test)]
mod tests {
    use super::Shape;

    #[test]
    fn values_are_what_the_schema_allows() {
        for (shape, good, bad) in [
            (Shape::Date, "2024-02-29", "2023-02-29"),
            (Shape::Date, "1970-01-31", "70-1-31"),
            (Shape::Date, "0001-12-01", "2026-12-01T00:00:00Z"),
            (Shape::Instant, "2026-08-22T10:00:01Z", "2026-08-22 10:00:01"),
            (Shape::Instant, "2026-08-22T23:59:59.999", "2026-08-22T24:00:00Z"),
            (Shape::Count, "0", "-1"),
            (Shape::Flag, "true", "yes"),
            (Shape::Visibility, "Domain", "domain"),
            (Shape::Text, "", "\0"),
        ] {
            assert!(shape.fits(good), "{good}");
            assert!(shape == Shape::Text || !shape.fits(bad), "{bad}");
        }
    }
}
