package azure

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/transport"
)

// kinds are what codes mean where the status does not say it:
// https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes
var kinds = map[string]core.ErrorKind{
	"ContainerNotFound":         core.ErrNoPlace,
	"ContainerDisabled":         core.ErrNoPlace,
	"ContainerBeingDeleted":     core.ErrUnavailable,
	"ResourceNotFound":          core.ErrNoPlace,
	"BlobNotFound":              core.ErrNotFound,
	"InvalidBlockList":          core.ErrNotFound, // a block went with another's commit
	"BlobAlreadyExists":         core.ErrExists,
	"UnauthorizedBlobOverwrite": core.ErrExists,

	"BlobImmutableDueToPolicy":               core.ErrLocked,
	"ImmutabilityPolicyDeleteOnLockedPolicy": core.ErrLocked,
	"LeaseIdMissing":                         core.ErrLocked,

	"AuthenticationFailed":        core.ErrUnauthenticated,
	"InvalidAuthenticationInfo":   core.ErrUnauthenticated,
	"NoAuthenticationInformation": core.ErrUnauthenticated,
	"AccountIsDisabled":           core.ErrDenied,

	"BlobArchived":           core.ErrUnsupported,
	"BlobBeingRehydrated":    core.ErrUnsupported,
	"BlockCountExceedsLimit": core.ErrUnsupported, // of uploads that were never committed
	"InvalidBlobType":        core.ErrUnsupported, // of somebody else's blob

	"Crc64Mismatch": core.ErrDamaged,
	"Md5Mismatch":   core.ErrDamaged,

	"ServerBusy":        core.ErrThrottled,
	"OperationTimedOut": core.ErrUnavailable,
}

// translate says what an error of the SDK means. One that has a kind, such as the
// source's, stays as it is.
func translate(err error) error {
	if err == nil || core.KindOf(err) != "" {
		return err
	}
	if response := (*azcore.ResponseError)(nil); errors.As(err, &response) {
		return answered(response)
	}
	return transport.Unanswered(err, "account and endpoint")
}

// A reason is how Microsoft Entra numbers why it refuses:
// https://learn.microsoft.com/entra/identity-platform/reference-error-codes
var reason = regexp.MustCompile(`\bAADSTS[0-9]+\b`)

// unidentified says why an identity got no token: there is none, its service refuses it,
// or that service is not well. What the service said is not repeated, but its
// number.
func unidentified(err error) error {
	e := &core.Error{Kind: core.ErrUnauthenticated, Err: transport.Quiet{Cause: err}}
	refused := (*azidentity.AuthenticationFailedError)(nil)
	switch {
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return err
	case !errors.As(err, &refused):
		e.Detail = "no credentials are found: set AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN, give this machine a managed identity, or sign in with az"
	case refused.RawResponse == nil:
		e.Kind, e.Detail = core.ErrUnavailable, "the identity's service does not answer: "+strings.Join(strings.Fields(err.Error()), " ")
	case passing(refused.RawResponse.StatusCode):
		e.Kind, e.Detail = core.ErrUnavailable, fmt.Sprintf("the identity's service answers with status %d", refused.RawResponse.StatusCode)
		e.RetryAfter = transport.RetryAfter(refused.RawResponse.Header)
	default:
		e.Detail = fmt.Sprintf("the identity's service refuses its credentials, with status %d", refused.RawResponse.StatusCode)
	}
	e.Code = reason.FindString(err.Error())
	return e
}

// passing says whether a status of an identity's service may be another one later:
// https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token#error-handling
func passing(status int) bool {
	return status == http.StatusGone || status == http.StatusTooManyRequests || status >= 500
}

// answered is an error that the server told.
func answered(response *azcore.ResponseError) error {
	e := &core.Error{Kind: kindOf(response.StatusCode, response.ErrorCode), Code: response.ErrorCode, Err: transport.Quiet{Cause: response}}
	header := http.Header{}
	if r := response.RawResponse; r != nil {
		header = r.Header
	}
	e.RequestID, e.RetryAfter = header.Get("X-Ms-Request-Id"), transport.RetryAfter(header)
	if e.Code == "" {
		e.Detail = fmt.Sprintf("an answer with status %d that is not understood", response.StatusCode)
	}
	if e.Kind == core.ErrUnauthenticated && skewed(response) {
		e.Kind = core.ErrClock
	}
	e.Detail = strings.TrimSpace(e.Detail + " " + advice(e, response, header))
	return e
}

// skew is what the server takes of the difference between the clocks:
// https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key
const skew = 15 * time.Minute

// skewed says whether a signature was refused for its date. An answer to HEAD has no
// text that says so, but a date.
func skewed(response *azcore.ResponseError) bool {
	if r := response.RawResponse; r != nil && r.Request != nil {
		here, err := http.ParseTime(r.Request.Header.Get("X-Ms-Date"))
		there, e := http.ParseTime(r.Header.Get("Date"))
		if err == nil && e == nil && there.Sub(here).Abs() > skew {
			return true
		}
	}
	return strings.Contains(response.Error(), "Request date header too old") || strings.Contains(response.Error(), "is not in the correct time")
}

func kindOf(status int, code string) core.ErrorKind {
	if k, ok := kinds[code]; ok {
		return k
	}
	return transport.Kind(status)
}

// advice is what a person can do, or "".
func advice(e *core.Error, response *azcore.ResponseError, h http.Header) string {
	right := rightOf(response)
	switch {
	case response.StatusCode >= 300 && response.StatusCode < 400:
		return transport.Moved(h, "account and endpoint")
	case e.Code == "AuthorizationFailure": // which is no right that is missing
		return "(this key or SAS is not let in: it is wrong or over, or the account's network rules forbid this machine)"
	case e.Kind == core.ErrUnauthenticated:
		return "(this key, SAS or identity is wrong, or over)"
	case e.Kind == core.ErrDenied && right != "":
		return "(this needs the right " + right + ")"
	case e.Kind == core.ErrClock:
		return fmt.Sprintf("(the server says that it is %s: set this machine's clock)", h.Get("Date"))
	}
	return ""
}
