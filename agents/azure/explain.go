package azure

import (
	"context"
	"errors"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"github.com/offsite-backup/offsite/core"
)

// Right is what a request needs that the server denied.
func (s *store) Right(err error) string {
	if response := (*azcore.ResponseError)(nil); errors.As(err, &response) {
		return rightOf(response)
	}
	return ""
}

// rightOf is the action of a role that allows a request, and its letter in a shared
// access signature, or "":
// https://learn.microsoft.com/rest/api/storageservices/authorize-with-azure-active-directory
// https://learn.microsoft.com/rest/api/storageservices/create-service-sas
func rightOf(response *azcore.ResponseError) string {
	if response.RawResponse == nil || response.RawResponse.Request == nil {
		return ""
	}
	const blobs = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/"
	q := response.RawResponse.Request
	query := q.URL.Query()
	switch {
	case q.Method == http.MethodDelete:
		return blobs + "delete, or d of a SAS"
	case q.Method == http.MethodPut:
		return blobs + "write, or w of a SAS"
	case query.Get("comp") == "list":
		return blobs + "read, or l of a SAS"
	case query.Get("restype") == "container":
		return "Microsoft.Storage/storageAccounts/blobServices/containers/read"
	}
	return blobs + "read, or r of a SAS"
}

// Settings looks at what the container protects by itself, and whether it can do what
// the configuration asks for.
func (s *store) Settings(ctx context.Context) ([]core.Finding, error) {
	out, err := s.client.GetProperties(ctx, nil)
	if err = translate(err); errors.Is(err, core.ErrDenied) || errors.Is(err, core.ErrUnauthenticated) {
		return []core.Finding{{
			What: "settings", Verdict: core.VerdictNote,
			Why: "these credentials may not look at the settings of the container, and no upload needs to",
			Do:  "to see them here too: take an identity with " + s.Right(err) + ", or the account's key",
		}}, nil
	}
	if err != nil {
		return nil, err
	}
	f := core.Finding{What: "lock", Verdict: core.VerdictOK}
	switch able := value(out.IsImmutableStorageWithVersioningEnabled); {
	case s.config.Lock != "" && !able:
		f.Verdict, f.Why = core.VerdictFailed, "the container cannot lock blobs, so it refuses what is to be locked"
		f.Do = "take a container with support for immutability of versions, or leave out the option lock"
	case value(out.HasLegalHold), value(out.HasImmutabilityPolicy):
		f.Verdict, f.Why = core.VerdictNote, "the container itself protects all that is stored: also what interrupted uploads leave, and marks that an id is gone"
	case s.config.Lock != "":
		f.Why = "backups are locked for " + s.config.LockFor.String()
	case able:
		f.Verdict, f.Why = core.VerdictNote, "the container can lock blobs, and none is locked: there is no option lock"
	default:
		f.Why = "none"
	}
	return []core.Finding{f}, nil
}
