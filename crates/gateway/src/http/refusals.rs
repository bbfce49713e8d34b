//! The answers to calls that are refused, for the description of the API.

use utoipa::IntoResponses;

use super::problem::ProblemBody;

/// How calls are refused.
#[derive(IntoResponses)]
#[expect(
    dead_code,
    reason = "describes the answers; the fields are only read by the macro"
)]
pub(super) enum Refusals {
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
    /// Something else is in the way
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(ProblemBody),
    /// The body is too large, or the call names too many
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(ProblemBody),
    /// The body is not JSON
    #[response(status = 415, content_type = "application/problem+json")]
    NotJson(ProblemBody),
    /// Too many calls
    #[response(status = 429, content_type = "application/problem+json")]
    TooFast(ProblemBody),
    /// The server failed
    #[response(status = 500, content_type = "application/problem+json")]
    Internal(ProblemBody),
    /// The store is in trouble, or the server is stopping: try again after Retry-After seconds
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(ProblemBody),
}
