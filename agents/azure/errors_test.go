package azure

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/offsite-backup/offsite/conformance/prove"
	"github.com/offsite-backup/offsite/core"
)

const tooOld = "<AuthenticationErrorDetail>Request date header too old: 'Mon, 23 Nov 2026 04:59:00 GMT'</AuthenticationErrorDetail>"

// refusals are what the server answers to what it does not grant.
var refusals = []struct {
	status int
	code   string
	detail string // more of the document
	want   core.ErrorKind
}{
	{307, "TemporaryRedirect", "", core.ErrUnsupported},
	{400, "Crc64Mismatch", "", core.ErrDamaged},
	{400, "InvalidBlockList", "", core.ErrNotFound},
	{400, "InvalidHeaderValue", "", core.ErrUnsupported},
	{400, "Md5Mismatch", "", core.ErrDamaged},
	{401, "InvalidAuthenticationInfo", "", core.ErrUnauthenticated},
	{401, "NoAuthenticationInformation", "", core.ErrUnauthenticated},
	{403, "AccountIsDisabled", "", core.ErrDenied},
	{403, "AuthenticationFailed", "", core.ErrUnauthenticated},
	{403, "AuthenticationFailed", tooOld, core.ErrClock},
	{403, "AuthorizationFailure", "", core.ErrDenied},
	{403, "AuthorizationPermissionMismatch", "", core.ErrDenied},
	{404, "BlobNotFound", "", core.ErrNotFound},
	{404, "ContainerNotFound", "", core.ErrNoPlace},
	{404, "ResourceNotFound", "", core.ErrNoPlace},
	{408, "RequestTimeout", "", core.ErrUnavailable},
	{409, "BlobAlreadyExists", "", core.ErrExists},
	{409, "BlobArchived", "", core.ErrUnsupported},
	{409, "BlobImmutableDueToPolicy", "", core.ErrLocked},
	{409, "ContainerBeingDeleted", "", core.ErrUnavailable},
	{409, "BlockCountExceedsLimit", "", core.ErrUnsupported},
	{409, "InvalidBlobType", "", core.ErrUnsupported},
	{412, "ConditionNotMet", "", core.ErrExists},
	{412, "LeaseIdMissing", "", core.ErrLocked},
	{416, "InvalidRange", "", core.ErrChanged},
	{429, "TooManyRequests", "", core.ErrThrottled},
	{500, "InternalError", "", core.ErrUnavailable},
	{500, "OperationTimedOut", "", core.ErrUnavailable},
	{501, "NotImplemented", "", core.ErrUnsupported},
	{503, "ServerBusy", "", core.ErrThrottled},
	{507, "InsufficientStorage", "", core.ErrNoSpace},
}

// TestKinds goes through what servers answer.
func TestKinds(t *testing.T) {
	for _, r := range refusals {
		w := httptest.NewRecorder()
		w.Header().Set("X-Ms-Error-Code", r.code)
		w.Header().Set("X-Ms-Request-Id", requestID)
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(r.status)
		_, _ = w.WriteString("<Error><Code>" + r.code + "</Code>" + r.detail + "</Error>")
		answer := w.Result()
		answer.Request = httptest.NewRequest(http.MethodGet, "http://host/container?sig=canary", nil)
		err := translate(runtime.NewResponseError(answer))
		var got *core.Error
		if !errors.As(err, &got) || got.Kind != r.want || got.Code != r.code || got.RequestID != requestID || got.RetryAfter.Seconds() != 7 {
			t.Errorf("%d %s: %#v, want %s", r.status, r.code, err, r.want)
		}
	}
}

// Which clock is wrong is seen without a word of the server's: HEAD has none.
func TestClockOfHead(t *testing.T) {
	for ahead, want := range map[time.Duration]core.ErrorKind{
		0: core.ErrUnauthenticated, 10 * time.Minute: core.ErrUnauthenticated,
		time.Hour: core.ErrClock, -time.Hour: core.ErrClock,
	} {
		s := driver(t, configured(t, "backups", elsewhere), core.Env{Transport: prove.RoundTripper(func(q *http.Request) (*http.Response, error) {
			r := refuse(q, http.StatusForbidden, "AuthenticationFailed")
			r.Header.Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
			return r, nil
		})})
		_, err := s.Stat(t.Context(), "meta/x.json")
		prove.Kind(t, "a clock that is off by "+ahead.String(), err, want)
		if err != nil && strings.Contains(err.Error(), "set this machine's clock") != (want == core.ErrClock) {
			t.Errorf("%v: %v", ahead, err)
		}
	}
}
