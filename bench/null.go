//go:build linux

package main

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"

	"github.com/offsite-backup/offsite/core"
)

// A null is as much of S3 as an upload asks for. It reads what it is sent and
// believes every checksum, so that what a client takes is the client's.
type null struct {
	mu      sync.Mutex
	parts   map[int]part
	objects map[string]object
}

type part struct {
	size int64
	sum  core.CRC64
}

type object struct {
	part
	token string
	body  []byte // of small ones
}

func newNull() *httptest.Server {
	return httptest.NewServer(&null{parts: map[int]part{}, objects: map[string]object{}})
}

func (n *null) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	q := r.URL.Query()
	switch {
	case r.Method == http.MethodPut && q.Has("partNumber"):
		n.part(w, r)
	case r.Method == http.MethodPut:
		body, _ := io.ReadAll(r.Body)
		n.objects[r.URL.Path] = object{part: part{int64(len(body)), sumOf(r)}, body: body}
		w.Header().Set("ETag", `"1"`)
	case r.Method == http.MethodPost && q.Has("uploads"):
		n.objects[""] = object{token: r.Header.Get("X-Amz-Meta-Offsite-Token")}
		w.Header().Set("X-Amz-Checksum-Type", "FULL_OBJECT")
		w.Header().Set("X-Amz-Checksum-Algorithm", "CRC64NVME")
		fmt.Fprint(w, "<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>")
	case r.Method == http.MethodPost:
		n.complete(w, r)
	case r.Method == http.MethodGet && q.Has("uploads"):
		fmt.Fprint(w, "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>")
	case r.Method == http.MethodGet && q.Has("uploadId"):
		n.list(w)
	default:
		n.look(w, r)
	}
}

func sumOf(r *http.Request) core.CRC64 {
	raw, _ := base64.StdEncoding.DecodeString(r.Header.Get("X-Amz-Checksum-Crc64nvme"))
	if len(raw) != 8 {
		return 0
	}
	return core.CRC64(binary.BigEndian.Uint64(raw))
}

func encode(sum core.CRC64) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint64(nil, uint64(sum)))
}

// part reads one without holding up the others.
func (n *null) part(w http.ResponseWriter, r *http.Request) {
	n.mu.Unlock()
	size, _ := io.CopyBuffer(io.Discard, struct{ io.Reader }{r.Body}, make([]byte, 256<<10))
	n.mu.Lock()
	i, _ := strconv.Atoi(r.URL.Query().Get("partNumber"))
	n.parts[i] = part{size, sumOf(r)}
	w.Header().Set("ETag", `"1"`)
	w.Header().Set("X-Amz-Checksum-Crc64nvme", encode(n.parts[i].sum))
}

func (n *null) list(w http.ResponseWriter) {
	fmt.Fprint(w, "<ListPartsResult><ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType>")
	for i := 1; i <= len(n.parts); i++ {
		fmt.Fprintf(w, `<Part><PartNumber>%d</PartNumber><ETag>"1"</ETag><Size>%d</Size><ChecksumCRC64NVME>%s</ChecksumCRC64NVME></Part>`, i, n.parts[i].size, encode(n.parts[i].sum))
	}
	fmt.Fprint(w, "<IsTruncated>false</IsTruncated></ListPartsResult>")
}

func (n *null) complete(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	whole := object{token: n.objects[""].token}
	for i := 1; i <= len(n.parts); i++ {
		p := n.parts[i]
		whole.size, whole.sum = whole.size+p.size, whole.sum.Then(p.sum, p.size)
	}
	n.objects[r.URL.Path] = whole
	fmt.Fprintf(w, `<CompleteMultipartUploadResult><ETag>"1"</ETag><ChecksumCRC64NVME>%s</ChecksumCRC64NVME><ChecksumType>FULL_OBJECT</ChecksumType></CompleteMultipartUploadResult>`, encode(whole.sum))
}

func (n *null) look(w http.ResponseWriter, r *http.Request) {
	if strings.Count(strings.TrimSuffix(r.URL.Path, "/"), "/") < 2 { // the bucket, or what it holds
		if r.Method == http.MethodGet {
			_ = xml.NewEncoder(w).Encode(struct {
				XMLName     xml.Name `xml:"ListBucketResult"`
				IsTruncated bool
			}{})
		}
		return
	}
	o, ok := n.objects[r.URL.Path]
	if !ok {
		http.Error(w, "<Error><Code>NoSuchKey</Code></Error>", http.StatusNotFound)
		return
	}
	h := w.Header()
	h.Set("ETag", `"1"`)
	h.Set("Content-Length", strconv.FormatInt(o.size, 10))
	h.Set("X-Amz-Meta-Offsite-Token", o.token)
	h.Set("X-Amz-Checksum-Type", "FULL_OBJECT")
	h.Set("X-Amz-Checksum-Crc64nvme", encode(o.sum))
	if r.Method == http.MethodGet {
		h.Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", o.size-1, o.size))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(o.body)
	}
}
