package azure

import (
	"net/http"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/conformance/prove"
	"github.com/offsite-backup/offsite/core"
)

// Of each right that is missing, the examination says which it is, in the words of
// roles and of signatures.
func TestExamineRights(t *testing.T) {
	const blobs = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/"
	const r, w, l, d = blobs + "read, or r of a SAS", blobs + "write, or w of a SAS", blobs + "read, or l of a SAS", blobs + "delete, or d of a SAS"
	server := azurite.Get(t)
	for name, test := range map[string]struct {
		rights string
		want   map[string]string
	}{
		"nothing": {"rwcld", map[string]string{}},
		"read":    {"wcld", map[string]string{"write": "failed " + r, "read": "failed " + r, "list parts": "failed " + r, "find uploads": "failed " + r, "abort uploads": "warning " + r}},
		"write":   {"rld", map[string]string{"write": "failed " + w, "write parts": "failed " + w}},
		"list":    {"rwcd", map[string]string{"list": "failed " + l, "find uploads": "failed " + l}},
		"delete":  {"rwcl", map[string]string{"delete": "note " + d, "abort uploads": "warning " + d}},
	} {
		t.Run(name, func(t *testing.T) {
			container := newContainer(t, server)
			a := prove.Open(t, signed(t, container, server.URL(), test.rights, time.Now().Add(time.Hour)), core.Env{})
			test.want["settings"] = "note"
			prove.Found(t, prove.Examined(t, a), test.want)
		})
	}
}

// What a container protects is said, and what it cannot.
func TestExamineSettings(t *testing.T) {
	for name, test := range map[string]struct {
		options string
		header  http.Header
		want    core.Verdict
	}{
		"nothing":              {"", http.Header{}, core.VerdictOK},
		"may lock":             {"", http.Header{"X-Ms-Immutable-Storage-With-Versioning-Enabled": {"true"}}, core.VerdictNote},
		"locks":                {"&lock=locked&lock_for=1d", http.Header{"X-Ms-Immutable-Storage-With-Versioning-Enabled": {"true"}}, core.VerdictOK},
		"cannot lock":          {"&lock=locked&lock_for=1d", http.Header{}, core.VerdictFailed},
		"a policy of its own":  {"", http.Header{"X-Ms-Has-Immutability-Policy": {"true"}}, core.VerdictNote},
		"a hold of everything": {"", http.Header{"X-Ms-Has-Legal-Hold": {"true"}}, core.VerdictNote},
	} {
		s := driver(t, configured(t, "backups", elsewhere+test.options), core.Env{Transport: prove.RoundTripper(func(q *http.Request) (*http.Response, error) {
			return prove.Answer(q, http.StatusOK, test.header, ""), nil
		})})
		found, err := s.Settings(t.Context())
		if err != nil || len(found) != 1 || found[0].Verdict != test.want || (found[0].Do != "") != (test.want == core.VerdictFailed) {
			t.Errorf("%s: %+v, %v; want %s", name, found, err, test.want)
		}
	}
}
