package s3

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/offsite-backup/offsite/conformance/prove"
	"github.com/offsite-backup/offsite/core"
)

// says is a server with these pages, by what they are asked for with.
func says(t *testing.T, pages map[string]string) *store {
	t.Helper()
	signIn(t, fakeKey)
	return driver(t, configured(t, "bucket", ""), core.Env{Transport: prove.RoundTripper(func(q *http.Request) (*http.Response, error) {
		query := q.URL.Query()
		var asked []string
		for _, marker := range []string{"prefix", "start-after", "continuation-token", "key-marker", "upload-id-marker", "part-number-marker"} {
			if v := query.Get(marker); v != "" {
				asked = append(asked, marker+"="+v)
			}
		}
		page, ok := pages[strings.Join(asked, " ")]
		if !ok {
			t.Errorf("asked for %q", asked)
		}
		r := refuse(q, http.StatusOK, "")
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(page)), int64(len(page))
		return r, nil
	})})
}

func uploadXML(key, id string) string {
	return "<Upload><Key>" + key + "</Key><UploadId>" + id + "</UploadId><Initiated>2026-11-23T09:00:00.000Z</Initiated></Upload>"
}

const (
	last     = "<IsTruncated>false</IsTruncated>"
	notLast  = "<IsTruncated>true</IsTruncated>"
	encoding = "<EncodingType>url</EncodingType>"
)

// Uploads are found on every page; those of others are passed over, whatever their
// keys have in them.
func TestUploadsInPages(t *testing.T) {
	s := says(t, map[string]string{
		"": "<R>" + encoding + notLast + "<NextKeyMarker>app%2Fdata%2Fa%01b</NextKeyMarker><NextUploadIdMarker>2</NextUploadIdMarker>" +
			uploadXML("app%2Fdata%2Fa%01b", "1") + uploadXML("application/data/x", "2") + "</R>",
		"key-marker=app/data/a\x01b upload-id-marker=2": "<R>" + encoding + last + uploadXML("app/data/c", "3") + "</R>",
		"prefix=app/data/c":                             "<R>" + last + uploadXML("app/data/c", "3") + uploadXML("app/data/c+", "4") + "</R>",
	})
	for prefix, want := range map[string][]string{"": {"data/a\x01b 1", "data/c 3"}, "data/c": {"data/c 3", "data/c+ 4"}} {
		var got []string
		for m, err := range s.Multiparts(t.Context(), prefix) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, m.Key()+" "+m.(*multipart).id)
			if !m.Started().Equal(time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)) {
				t.Errorf("%s started at %v", m.Key(), m.Started())
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q has %q, want %q", prefix, got, want)
		}
	}
}

// A page that does not say how to go on, or says nothing, is an error of the list.
func TestPagesThatBreakOff(t *testing.T) {
	for what, page := range map[string]string{
		"nothing":             "",
		"no word of the end":  "<R>" + encoding + "</R>",
		"half":                "<R>" + last,
		"more, and not where": "<R>" + notLast + "</R>",
		"badly encoded":       "<R>" + last + encoding + "<Contents><Key>app%zz</Key></Contents>" + uploadXML("app%zz", "1") + "</R>",
		"another's key":       "<R>" + last + "<Contents><Key>other/a</Key></Contents>" + "<Upload><Key>%</Key></Upload>" + encoding + "</R>",
		"no order":            "<R>" + last + "<Contents><Key>app/b</Key></Contents><Contents><Key>app/a</Key></Contents>" + "<Upload><Key>%</Key></Upload>" + encoding + "</R>",
	} {
		s := says(t, map[string]string{"": page, "prefix=app/": page})
		var err error
		for _, e := range s.List(t.Context(), "", "") {
			err = e
		}
		prove.Kind(t, "a list: "+what, err, core.ErrUnavailable)
		err = nil
		for _, e := range s.Multiparts(t.Context(), "") {
			err = e
		}
		prove.Kind(t, "a list of uploads: "+what, err, core.ErrUnavailable)
		if strings.Contains(page, "Key>") {
			continue
		}
		_, err = (&multipart{store: s, key: "data/x", id: "1"}).Parts(t.Context())
		prove.Kind(t, "a list of parts: "+what, err, core.ErrUnavailable)
	}
}

// More parts than fit in one page of Amazon's are all found.
func TestThousandsOfParts(t *testing.T) {
	page := func(from, to int, end string) string {
		var b strings.Builder
		for n := from; n <= to; n++ {
			fmt.Fprintf(&b, "<Part><PartNumber>%d</PartNumber><Size>%d</Size><ChecksumCRC64NVME>%s</ChecksumCRC64NVME></Part>", n, minPart, *encode(core.CRC64(n)))
		}
		return "<R>" + b.String() + end + "</R>"
	}
	s := says(t, map[string]string{
		"":                        page(1, 1000, notLast+"<NextPartNumberMarker>1000</NextPartNumberMarker>"),
		"part-number-marker=1000": page(1001, 2000, notLast+"<NextPartNumberMarker>2000</NextPartNumberMarker>"),
		"part-number-marker=2000": page(2001, 2345, last),
	})
	parts, err := (&multipart{store: s, key: "data/x", id: "1"}).Parts(t.Context())
	if err != nil || len(parts) != 2345 {
		t.Fatalf("%d parts, %v", len(parts), err)
	}
	for i, p := range parts {
		if p.Index != i || p.CRC64 != core.CRC64(i+1) || p.Size != minPart {
			t.Fatalf("part %d is %+v", i, p)
		}
	}
}

// An upload without an id could never be gone on with.
func TestUploadWithoutID(t *testing.T) {
	_, err := says(t, map[string]string{"": ""}).Begin(t.Context(), "data/x", "0123456789abcdef")
	prove.Kind(t, "an upload without an id", err, core.ErrUnavailable)
}
