//! Response codes and their texts (MS-OXWSCDATA `ResponseCodeType`).

macro_rules! codes {
    ($($name:ident = $text:literal,)+) => {
        /// A response code that Postbell gives.
        #[allow(missing_docs, clippy::enum_variant_names, reason = "the names are those of the specification")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub enum Code {
            $($name,)+
        }

        impl Code {
            /// Its name on the wire.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }

            /// Its text for people.
            pub fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

// The state holds codes of parts that wait, by their place in this list: new ones go to its end.
codes! {
    ErrorAccessDenied = "Access is denied. Check credentials and try again.",
    ErrorCannotUseItemIdForFolderId = "The id is that of an item; the id of a folder is needed.",
    ErrorExceededConnectionCount = "The account has as many open streams as it may have.",
    ErrorExceededSubscriptionCount = "There are more subscriptions than are allowed.",
    ErrorFolderNotFound = "The specified folder could not be found in the store.",
    ErrorImpersonateUserDenied = "The account does not have permission to impersonate the requested user.",
    ErrorInternalServerError = "An internal server error occurred. The operation failed.",
    ErrorInvalidExchangeImpersonationHeaderData = "The impersonation header does not name an account.",
    ErrorInvalidIdMalformed = "The id is malformed.",
    ErrorInvalidPullSubscriptionId = "The subscription is not a pull subscription.",
    ErrorInvalidRequest = "The request is invalid.",
    ErrorInvalidServerVersion = "The specified server version is invalid.",
    ErrorInvalidSubscription = "Subscription is invalid.",
    ErrorInvalidSubscriptionRequest = "The subscription request is not valid.",
    ErrorInvalidWatermark = "The watermark used for creating this subscription was not found.",
    ErrorMailboxStoreUnavailable = "The mailbox is not available at the moment.",
    ErrorMissedNotificationEvents = "Some events were missed for this subscription.",
    ErrorNewEventStreamConnectionOpened = "Another stream was opened for this subscription.",
    ErrorNonExistentMailbox = "There is no mailbox with this address.",
    ErrorSchemaValidation = "The request failed schema validation.",
    ErrorServerBusy = "The server cannot service this request right now. Try again later.",
    ErrorSubscriptionAccessDenied = "Access is denied. Only the subscription owner may access the subscription.",
    ErrorSubscriptionNotFound = "The specified subscription was not found.",
    ErrorInvalidPushSubscriptionUrl = "The URL of the push subscription is invalid.",
    ErrorReadEventsFailed = "Events could not be read for this subscription; create it anew.",
}
