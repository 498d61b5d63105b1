package azure

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

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

	"BlobArchived":        core.ErrUnsupported,
	"BlobBeingRehydrated": core.ErrUnsupported,

	"Crc64Mismatch": core.ErrDamaged,
	"Md5Mismatch":   core.ErrDamaged,

	"ServerBusy":        core.ErrThrottled,
	"OperationTimedOut": core.ErrUnavailable,
}

// statuses are what a status means that is no code's.
var statuses = map[int]core.ErrorKind{
	http.StatusUnauthorized:                 core.ErrUnauthenticated,
	http.StatusForbidden:                    core.ErrDenied,
	http.StatusNotFound:                     core.ErrNotFound,
	http.StatusRequestTimeout:               core.ErrUnavailable,
	http.StatusConflict:                     core.ErrUnavailable, // somebody else is at the same blob
	http.StatusPreconditionFailed:           core.ErrExists,
	http.StatusRequestedRangeNotSatisfiable: core.ErrChanged,
	http.StatusTooManyRequests:              core.ErrThrottled,
	http.StatusNotImplemented:               core.ErrUnsupported,
	http.StatusInsufficientStorage:          core.ErrNoSpace,
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
	if identity := (*azidentity.AuthenticationFailedError)(nil); errors.As(err, &identity) {
		return &core.Error{Kind: core.ErrUnauthenticated, Detail: "the identity's service refuses its credentials", Err: transport.Quiet{Cause: err}}
	}
	return transport.Unanswered(err, "account and endpoint")
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

// skewed says whether a signature was refused for its date.
func skewed(response *azcore.ResponseError) bool {
	return strings.Contains(response.Error(), "Request date header too old") || strings.Contains(response.Error(), "is not in the correct time")
}

func kindOf(status int, code string) core.ErrorKind {
	if k, ok := kinds[code]; ok {
		return k
	}
	if k, ok := statuses[status]; ok {
		return k
	}
	if status >= 300 && status < 500 {
		return core.ErrUnsupported
	}
	return core.ErrUnavailable
}

// advice is what a person can do, or "".
func advice(e *core.Error, response *azcore.ResponseError, h http.Header) string {
	right := rightOf(response)
	switch {
	case response.StatusCode >= 300 && response.StatusCode < 400:
		return "(the server points to another place, and redirects are not followed: give the endpoint that is meant)"
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
