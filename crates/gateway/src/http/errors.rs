//! The responses to calls that fail, for the description of the API.

use utoipa::IntoResponses;

use super::problem::ProblemBody;

/// The error responses of every call.
#[derive(IntoResponses)]
#[expect(
    dead_code,
    reason = "describes the responses; the fields are only read by the macro"
)]
pub(super) enum Errors {
    /// The call is malformed
    #[response(status = 400, content_type = "application/problem+json")]
    Malformed(ProblemBody),
    /// The API key is missing, wrong or expired
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthenticated(ProblemBody),
    /// The API key lacks the scope that the call needs, or the call is not allowed
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(ProblemBody),
    /// There is no such kind, team or conversation
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(ProblemBody),
    /// The call conflicts with the state of the server or with its configuration
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(ProblemBody),
    /// The body is too large, or the call names too many users or messages
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(ProblemBody),
    /// The body is compressed or is not JSON
    #[response(status = 415, content_type = "application/problem+json")]
    NotJson(ProblemBody),
    /// There were too many calls; try again after Retry-After seconds
    #[response(status = 429, content_type = "application/problem+json")]
    TooFast(ProblemBody),
    /// The server has failed
    #[response(status = 500, content_type = "application/problem+json")]
    Internal(ProblemBody),
    /// The store fails, the server is stopping, or a limit of all calls is reached; try again after
    /// Retry-After seconds
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(ProblemBody),
}
