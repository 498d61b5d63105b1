package emulator

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/offsite-backup/offsite/conformance"
)

// Credentials are a user's, or a session's.
type Credentials struct {
	ID     string `xml:"AccessKeyId"`
	Secret string `xml:"SecretAccessKey"`
	Token  string `xml:"SessionToken"` // of a session
}

// Session returns credentials that may do what policy says and nothing else: a
// document of the kind that is attached to users and roles.
func (m *MinIO) Session(ctx context.Context, policy string) (Credentials, error) {
	form := url.Values{"Action": {"AssumeRole"}, "Version": {"2011-06-15"}, "DurationSeconds": {"3600"}, "Policy": {policy}}
	doc, err := m.ask(ctx, "sts", http.MethodPost, "/", nil, http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, []byte(form.Encode()))
	if err != nil {
		return Credentials{}, err
	}
	var answer struct {
		Credentials Credentials `xml:"AssumeRoleResult>Credentials"`
	}
	return answer.Credentials, xml.Unmarshal(doc, &answer)
}

// A Bucket is one of a server, seen with another client than an agent's.
type Bucket struct {
	server *MinIO
	Name   string
}

var _ conformance.Raw = Bucket{}

// MakeBucket makes a bucket, with versions and object lock where locked.
func (m *MinIO) MakeBucket(ctx context.Context, name string, locked bool) (Bucket, error) {
	h := http.Header{}
	if locked {
		h.Set("X-Amz-Bucket-Object-Lock-Enabled", "true")
	}
	_, err := m.ask(ctx, "s3", http.MethodPut, "/"+name, nil, h, nil)
	return Bucket{m, name}, err
}

// Put makes or replaces an object.
func (b Bucket) Put(ctx context.Context, ns conformance.Namespace, key string, data []byte) error {
	_, err := b.do(ctx, http.MethodPut, below(ns)+key, nil, data)
	return err
}

// Get returns the bytes of an object.
func (b Bucket) Get(ctx context.Context, ns conformance.Namespace, key string) ([]byte, error) {
	return b.do(ctx, http.MethodGet, below(ns)+key, nil, nil)
}

// Delete removes an object, or hides it in a bucket that keeps versions.
func (b Bucket) Delete(ctx context.Context, ns conformance.Namespace, key string) error {
	_, err := b.do(ctx, http.MethodDelete, below(ns)+key, nil, nil)
	return err
}

// List returns the keys below a namespace.
func (b Bucket) List(ctx context.Context, ns conformance.Namespace) (all []string, err error) {
	query := url.Values{"list-type": {"2"}, "encoding-type": {"url"}, "prefix": {below(ns)}}
	for {
		var page struct {
			Keys  []string `xml:"Contents>Key"`
			Token string   `xml:"NextContinuationToken"`
		}
		if err := b.list(ctx, query, &page); err != nil {
			return nil, err
		}
		for _, k := range page.Keys {
			if k, err = url.QueryUnescape(k); err != nil {
				return nil, err
			}
			all = append(all, strings.TrimPrefix(k, below(ns)))
		}
		if page.Token == "" {
			return all, nil
		}
		query.Set("continuation-token", page.Token)
	}
}

// Leftovers returns the keys of uploads in parts that are not finished. MinIO gives
// them all in one page.
func (b Bucket) Leftovers(ctx context.Context, ns conformance.Namespace) (all []string, err error) {
	var page struct {
		Keys []string `xml:"Upload>Key"`
	}
	err = b.list(ctx, url.Values{"uploads": {""}}, &page)
	for _, k := range page.Keys {
		if key, ok := strings.CutPrefix(k, below(ns)); ok {
			all = append(all, key)
		}
	}
	return all, err
}

func (b Bucket) list(ctx context.Context, query url.Values, page any) error {
	doc, err := b.do(ctx, http.MethodGet, "", query, nil)
	if err != nil {
		return err
	}
	return xml.Unmarshal(doc, page)
}

func (b Bucket) do(ctx context.Context, method, key string, query url.Values, body []byte) ([]byte, error) {
	return b.server.ask(ctx, "s3", method, "/"+b.Name+"/"+key, query, http.Header{}, body)
}

func below(ns conformance.Namespace) string { return strings.Trim(string(ns), "/") + "/" }

// ask makes one request. What is not there is fs.ErrNotExist.
func (m *MinIO) ask(ctx context.Context, service, method, path string, query url.Values, h http.Header, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, m.URL, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.URL.Path, req.URL.RawPath, req.URL.RawQuery = path, escaped(path), strings.ReplaceAll(query.Encode(), "+", "%20")
	req.Header = h
	m.Key.sign(req, service, body, time.Now())
	req.Header["Idempotency-Key"] = []string{} // not sent: may go again where the server has closed an idle connection
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	doc, err := io.ReadAll(r.Body)
	switch {
	case err != nil:
		return nil, err
	case r.StatusCode == http.StatusNotFound:
		return nil, fmt.Errorf("%s %s: %w", method, path, fs.ErrNotExist)
	case r.StatusCode >= 300:
		return nil, fmt.Errorf("%s %s: %s: %s", method, path, r.Status, doc)
	}
	return doc, nil
}

// escaped is a path as Signature Version 4 wants it: everything but letters,
// digits, "-._~" and slashes is encoded.
func escaped(path string) string {
	var b strings.Builder
	for _, c := range []byte(path) {
		if strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// sign signs a request by Signature Version 4:
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
func (c Credentials) sign(req *http.Request, service string, body []byte, now time.Time) {
	when := now.UTC().Format("20060102T150405Z")
	scope := strings.Join([]string{when[:8], Region, service, "aws4_request"}, "/")
	payload := sha256.Sum256(body)
	req.Header.Set("X-Amz-Date", when)
	req.Header.Set("X-Amz-Content-Sha256", hex.EncodeToString(payload[:]))
	if c.Token != "" {
		req.Header.Set("X-Amz-Security-Token", c.Token)
	}
	headers := map[string]string{"host": req.URL.Host}
	for name := range req.Header {
		headers[strings.ToLower(name)] = req.Header.Get(name)
	}
	names := slices.Sorted(maps.Keys(headers))
	signed := strings.Join(names, ";")
	request := req.Method + "\n" + req.URL.RawPath + "\n" + req.URL.RawQuery + "\n"
	for _, name := range names {
		request += name + ":" + headers[name] + "\n"
	}
	hash := sha256.Sum256([]byte(request + "\n" + signed + "\n" + hex.EncodeToString(payload[:])))
	key := []byte("AWS4" + c.Secret)
	for _, step := range strings.Split(scope, "/") {
		key = mac(key, step)
	}
	signature := mac(key, "AWS4-HMAC-SHA256\n"+when+"\n"+scope+"\n"+hex.EncodeToString(hash[:]))
	req.Header.Set("Authorization", fmt.Sprintf("AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%x", c.ID, scope, signed, signature))
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}
