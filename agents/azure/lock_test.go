package azure

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/conformance/prove"
	"github.com/offsite-backup/offsite/core"
)

// What is protected answers a delete with the date.
func TestLocked(t *testing.T) {
	until := time.Now().Add(48 * time.Hour).UTC().Truncate(time.Second)
	for name, test := range map[string]struct {
		code   string
		header http.Header
		until  time.Time
		locked bool // before it is deleted too
	}{
		"policy":               {"BlobImmutableDueToPolicy", http.Header{"X-Ms-Immutability-Policy-Until-Date": {until.Format(http.TimeFormat)}}, until, false},
		"legal hold":           {"BlobImmutableDueToPolicy", http.Header{"X-Ms-Legal-Hold": {"true"}}, time.Time{}, true},
		"container's hold":     {"BlobImmutableDueToPolicy", http.Header{"X-Ms-Has-Legal-Hold": {"true"}}, time.Time{}, true},
		"container's policy":   {"BlobImmutableDueToPolicy", http.Header{"X-Ms-Has-Immutability-Policy": {"true"}}, time.Time{}, false},
		"container unknown":    {"BlobImmutableDueToPolicy", nil, time.Time{}, false},
		"somebody's own lease": {"LeaseIdMissing", http.Header{}, time.Time{}, false},
	} {
		s := driver(t, configured(t, "backups", elsewhere), core.Env{Transport: prove.RoundTripper(func(q *http.Request) (*http.Response, error) {
			if q.Method == http.MethodDelete {
				return refuse(q, http.StatusConflict, test.code), nil
			}
			if test.header == nil && q.URL.Query().Get("restype") == "container" {
				return refuse(q, http.StatusForbidden, "AuthorizationFailure"), nil
			}
			return prove.Answer(q, http.StatusOK, test.header, ""), nil
		})})
		err := s.Delete(t.Context(), "meta/x.json")
		prove.Kind(t, name, err, core.ErrLocked)
		if e := (*core.Error)(nil); !errors.As(err, &e) || !e.Until.Equal(test.until) {
			t.Errorf("%s: %v; want until %v", name, err, test.until)
		}
		if strings.Contains(err.Error(), "0001") {
			t.Errorf("%s: %v has a date that nobody knows", name, err)
		}
		got, err := s.Protected(t.Context(), "meta/x.json")
		if test.locked {
			prove.Kind(t, name, err, core.ErrLocked)
		} else if err != nil || !got.Equal(test.until) {
			t.Errorf("%s: protected until %v, %v", name, got, err)
		}
	}
}

// What a container holds is not deleted, and nothing is changed.
func TestContainerHolds(t *testing.T) {
	server := azurite.Get(t)
	container := newContainer(t, server)
	id := stocked(t, server, container)
	holding := true
	a := prove.Open(t, configured(t, container.Name, on(server, "")), core.Env{Transport: prove.RoundTripper(func(q *http.Request) (*http.Response, error) {
		if holding && q.Method == http.MethodDelete {
			return refuse(q, http.StatusConflict, "BlobImmutableDueToPolicy"), nil
		}
		r, err := http.DefaultTransport.RoundTrip(q)
		if err == nil && q.URL.Query().Get("restype") == "container" && q.URL.Query().Get("comp") == "" && holding {
			r.Header.Set("X-Ms-Has-Legal-Hold", "true")
		}
		return r, err
	})})
	before, err := container.List(t.Context(), "app")
	if err != nil || len(before) == 0 {
		t.Fatalf("%q, %v", before, err)
	}
	err = a.Delete(t.Context(), id)
	prove.Kind(t, "a delete", err, core.ErrLocked)
	if after, e := container.List(t.Context(), "app"); e != nil || !slices.Equal(before, after) {
		t.Errorf("%v made %q of %q, %v", err, after, before, e)
	}
	holding = false
	if err := a.Delete(t.Context(), id); err != nil {
		t.Error(err)
	}
}

// Where the server passes over what was to be locked, nothing is stored without. Azurite
// does.
func TestLockPassedOver(t *testing.T) {
	server := azurite.Get(t)
	container := newContainer(t, server)
	a := prove.Open(t, configured(t, container.Name, on(server, "lock=locked&lock_for=1h")), core.Env{})
	for _, size := range []int{1000, minPart + 1000} {
		_, err := prove.Upload(t, a, prove.Noise(size))
		prove.Kind(t, "an upload", err, core.ErrUnsupported)
		if err == nil || !strings.Contains(err.Error(), "immutability of versions") {
			t.Errorf("%v does not say what is missing", err)
		}
	}
	if got, err := container.List(t.Context(), "app"); err != nil || len(got) > 0 {
		t.Errorf("stored all the same: %q, %v", got, err)
	}
}
