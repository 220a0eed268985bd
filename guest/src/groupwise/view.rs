//! Views: which elements of an item a client wants.

/// The elements that are wanted.
#[derive(Clone, Copy)]
pub struct View<'v> {
    words: Option<&'v str>,
    members: bool,
}

impl<'v> View<'v> {
    /// What a request says: names of elements, separated by white space; nothing: all.
    pub fn of(words: Option<&'v str>) -> Self {
        Self { words, members: true }
    }

    /// The same without the members of groups.
    pub fn without_members(self) -> Self {
        Self { members: false, ..self }
    }

    /// Whether this element is wanted. `email` is the name of a contact's addresses too, as Evolution's view has it;
    /// `default` stands for everything but members.
    pub fn shows(&self, element: &str) -> bool {
        if element == "members" && !self.members {
            return false;
        }
        let Some(words) = self.words else {
            return true;
        };
        words.split_ascii_whitespace().any(|word| {
            word == element || word == "email" && element == "emailList" || word == "default" && element != "members"
        })
    }
}
