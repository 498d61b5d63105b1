package fakegcs

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// mostResults is how many entries a page has at most.
const mostResults = 1000

// list answers with a page of the live objects.
func (q *request) list(w http.ResponseWriter, bucket string) error {
	q.server.mu.Lock()
	defer q.server.mu.Unlock()
	b, err := q.bucket(bucket)
	if err != nil {
		return err
	}
	if err := q.allowed("storage.objects.list", "bucket"); err != nil {
		return err
	}
	most := mostResults
	if text := q.query.Get("maxResults"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return invalid("Invalid value for maxResults.")
		}
		if n > 0 {
			most = min(n, most)
		}
	}
	from := max(q.query.Get("startOffset"), q.query.Get("prefix"))
	if token := q.query.Get("pageToken"); token != "" {
		last, err := base64.RawURLEncoding.DecodeString(token)
		if err != nil {
			return invalid("Invalid value for pageToken.")
		}
		from = max(from, string(last)+"\x00")
	}
	writeJSON(w, http.StatusOK, q.partial(q.page(b, from, most)))
	return nil
}

// A page is a part of a list.
type page struct {
	Kind          string     `json:"kind"`
	NextPageToken string     `json:"nextPageToken,omitempty"`
	Prefixes      []string   `json:"prefixes,omitempty"`
	Items         []resource `json:"items,omitempty"`
}

// page has at most so many entries whose names do not come before from.
func (q *request) page(b *bucket, from string, most int) page {
	p := page{Kind: "storage#objects"}
	prefix, delimiter, end := q.query.Get("prefix"), q.query.Get("delimiter"), q.query.Get("endOffset")
	last := ""
	i, _ := slices.BinarySearch(b.names, from)
	for _, name := range b.names[i:] {
		rest, ok := strings.CutPrefix(name, prefix)
		if !ok || end != "" && name >= end {
			break
		}
		if head, _, cut := strings.Cut(rest, delimiter); delimiter != "" && cut {
			if dir := prefix + head + delimiter; !slices.Contains(p.Prefixes, dir) {
				if len(p.Items)+len(p.Prefixes) == most {
					p.NextPageToken = base64.RawURLEncoding.EncodeToString([]byte(last))
					break
				}
				p.Prefixes = append(p.Prefixes, dir)
			}
			last = name
			continue
		}
		if len(p.Items)+len(p.Prefixes) == most {
			p.NextPageToken = base64.RawURLEncoding.EncodeToString([]byte(last))
			break
		}
		p.Items, last = append(p.Items, b.live[name].resource), name
	}
	return p
}

// partial is an answer cut to what the parameter fields names:
// https://cloud.google.com/storage/docs/json_api#partial-response
func (q *request) partial(answer any) any {
	fields := q.query.Get("fields")
	if fields == "" {
		return answer
	}
	raw, err := json.Marshal(answer)
	if err != nil {
		return answer
	}
	var tree any
	if err := json.Unmarshal(raw, &tree); err != nil {
		return answer
	}
	want, _ := parseFields(fields)
	return cut(tree, want)
}

// A selection names fields, each with what is wanted of it; none means all.
type selection map[string]selection

// parseFields reads a,b(c,d),e/f up to a parenthesis that closes, and returns the rest.
func parseFields(text string) (selection, string) {
	all := selection{}
	for text != "" && text[0] != ')' {
		n := strings.IndexAny(text, ",()/")
		if n < 0 {
			n = len(text)
		}
		name, below := text[:n], selection{}
		text = text[n:]
		switch {
		case strings.HasPrefix(text, "("):
			below, text = parseFields(text[1:])
			text = strings.TrimPrefix(text, ")")
		case strings.HasPrefix(text, "/"):
			m := strings.IndexAny(text, ",)")
			if m < 0 {
				m = len(text)
			}
			below, _ = parseFields(text[1:m])
			text = text[m:]
		}
		all[name] = below
		text = strings.TrimPrefix(text, ",")
	}
	return all, text
}

func cut(tree any, want selection) any {
	if len(want) == 0 {
		return tree
	}
	switch t := tree.(type) {
	case []any:
		for i := range t {
			t[i] = cut(t[i], want)
		}
	case map[string]any:
		for name := range t {
			if below, ok := want[name]; ok {
				t[name] = cut(t[name], below)
			} else if _, all := want["*"]; !all {
				delete(t, name)
			}
		}
	}
	return tree
}
