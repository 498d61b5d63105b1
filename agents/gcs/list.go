package gcs

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	raw "google.golang.org/api/storage/v1"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/object"
)

func (s *store) List(ctx context.Context, prefix, after string) iter.Seq2[object.Object, error] {
	return func(yield func(object.Object, error) bool) {
		for item, err := range s.items(ctx, prefix, after) {
			var o object.Object
			if err == nil {
				o, err = s.object(strings.TrimPrefix(item.Name, s.prefix), item)
			}
			if !yield(o, err) || err != nil {
				return
			}
		}
	}
}

// items reads a list page by page.
func (s *store) items(ctx context.Context, prefix, after string) iter.Seq2[*raw.Object, error] {
	return func(yield func(*raw.Object, error) bool) {
		full, from, last, token := s.prefix+prefix, "", "", ""
		if after != "" { // which the server includes
			from, last = s.prefix+after, s.prefix+after
		}
		for {
			page, err := s.listPage(ctx, full, from, token, s.page)
			if err != nil {
				yield(nil, err)
				return
			}
			for i, item := range page.Items {
				if item.Name == last && item.Name == from && i == 0 && token == "" {
					continue
				}
				if !strings.HasPrefix(item.Name, full) || item.Name <= last && last != "" {
					yield(nil, core.Errorf(core.ErrUnavailable, "the server lists %q after %q", item.Name, last))
					return
				}
				if last = item.Name; !yield(item, nil) {
					return
				}
			}
			if page.NextPageToken == nil {
				return
			}
			if next := *page.NextPageToken; next == "" || next == token {
				yield(nil, core.Errorf(core.ErrUnavailable, "the server says that a list goes on, and not where"))
				return
			}
			token = *page.NextPageToken
		}
	}
}

// A page is a part of a list.
type page struct {
	Kind          string        `json:"kind"`
	NextPageToken *string       `json:"nextPageToken"` // nil with the last one
	Items         []*raw.Object `json:"items"`
}

// listPage asks for one page. An answer that does not say what it is, is none.
func (s *store) listPage(ctx context.Context, full, from, token string, most int64) (*page, error) {
	query := url.Values{"prefix": {full}, "projection": {"noAcl"}, "fields": {"kind,nextPageToken,items(" + fields + ")"}, "prettyPrint": {"false"}}
	if from != "" {
		query.Set("startOffset", from)
	}
	if token != "" {
		query.Set("pageToken", token)
	}
	if most > 0 {
		query.Set("maxResults", strconv.FormatInt(most, 10))
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+"/storage/v1/b/"+url.PathEscape(s.config.Bucket)+"/o?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	p := new(page)
	if _, err := s.do(opList, q, p); err != nil {
		return nil, err
	}
	if p.Kind != "storage#objects" {
		return nil, core.Errorf(core.ErrUnavailable, "asked for a list, the server sent %q", p.Kind)
	}
	return p, nil
}
