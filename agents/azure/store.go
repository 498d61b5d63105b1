package azure

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/object"
	"github.com/offsite-backup/offsite/core/transport"
)

// The limits of block blobs, from
// https://learn.microsoft.com/rest/api/storageservices/understanding-block-blobs--append-blobs--and-page-blobs
// That a part has at least a MiB is ours: 50,000 smaller ones hold little.
const (
	minPart  = 1 << 20
	maxPart  = 4000 << 20
	maxParts = 50_000
)

// Where the token of an upload, and the checksum of its bytes, stand in a blob's
// metadata. The names are words of C#, which have no dash.
const (
	tokenKey = "offsite_token"
	sumKey   = "offsite_crc64nvme"
)

// A store is one prefix of one container.
type store struct {
	config  Config
	client  *container.Client
	idle    *http.Transport
	now     func() time.Time
	prefix  string // of all keys: "" or with a slash at its end
	aborted aborted
	page    *int32 // most entries in a page of a list; nil: as many as the server likes
}

var (
	_ object.Store     = (*store)(nil)
	_ object.Protector = (*store)(nil)
	_ object.Explainer = (*store)(nil)
)

func newStore(c Config, env core.Env) (*store, error) {
	client, idle, err := newClient(c, env)
	if err != nil {
		return nil, err
	}
	s := &store{config: c, client: client, idle: idle, now: env.WithDefaults().Now}
	if c.Prefix != "" {
		s.prefix = c.Prefix + "/"
	}
	return s, nil
}

func (c *Config) workers() int { return cmp.Or(c.Concurrency, 8) }

func (s *store) Limits() object.Limits {
	return object.Limits{PartSize: cmp.Or(s.config.PartSize, 16<<20), MaxPart: maxPart, MaxParts: maxParts, Workers: s.config.workers()}
}

func (s *store) Close() error {
	s.idle.CloseIdleConnections()
	return nil
}

func (s *store) at(key string) *blockblob.Client { return s.client.NewBlockBlobClient(s.prefix + key) }

// absent is the condition that nothing is there yet.
func absent() *blob.AccessConditions {
	return &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfNoneMatch: to.Ptr(azcore.ETagAny)}}
}

func (s *store) Put(ctx context.Context, key string, body *io.SectionReader, sum core.CRC64) (object.Object, error) {
	with := s.attributes(key)
	err := s.put(ctx, key, body, sum, with)
	if errors.Is(err, core.ErrExists) {
		if _, e := s.head(ctx, key); errors.Is(e, core.ErrNotFound) {
			// It is blocks that are not committed which are in the way, of an upload that
			// this one ends.
			if err = s.drop(ctx, key); err == nil {
				err = s.put(ctx, key, body, sum, with)
			}
		}
	}
	if err != nil {
		return object.Object{}, err
	}
	return s.stored(ctx, key, with)
}

func (s *store) put(ctx context.Context, key string, body *io.SectionReader, sum core.CRC64, with attributes) error {
	body = io.NewSectionReader(body, 0, body.Size()) // whose place is this request's
	_, err := s.at(key).Upload(ctx, streaming.NopCloser(body), &blockblob.UploadOptions{
		AccessConditions:             absent(),
		TransactionalValidation:      blob.TransferValidationTypeCRC64(sum),
		Metadata:                     marks("", sum),
		Tier:                         with.tier,
		CPKScopeInfo:                 with.scope,
		ImmutabilityPolicyMode:       with.lock,
		ImmutabilityPolicyExpiryTime: with.until,
	})
	return translate(err)
}

// stored is what was created. A server that passes over a lock says nothing: what was to
// be locked, and is not, goes again.
func (s *store) stored(ctx context.Context, key string, with attributes) (object.Object, error) {
	out, err := s.head(ctx, key)
	if err != nil {
		return object.Object{}, err
	}
	if with.until != nil && value(out.ImmutabilityPolicyExpiresOn).Before(with.until.Truncate(time.Second)) {
		err := core.Errorf(core.ErrUnsupported, "the server does not lock %s: take a container with support for immutability of versions, or leave out the option lock", key)
		return object.Object{}, errors.Join(err, s.Delete(ctx, key))
	}
	return described(key, out), nil
}

// marks are the metadata of an object.
func marks(token string, sum core.CRC64) map[string]*string {
	text, _ := sum.MarshalText() // which never fails
	all := map[string]*string{sumKey: to.Ptr(string(text))}
	if token != "" {
		all[tokenKey] = &token
	}
	return all
}

// attributes are what an object is stored with besides its bytes.
type attributes struct {
	tier  *blob.AccessTier
	scope *blob.CPKScopeInfo
	lock  *blob.ImmutabilityPolicySetting
	until *time.Time
}

// attributes go by the layout of package object. Only archives are worth a cooler
// tier. What belongs to a backup is locked; a hold must be free to be released.
func (s *store) attributes(key string) (a attributes) {
	c, archive := s.config, strings.HasPrefix(key, "data/")
	if archive && c.Tier != "" {
		a.tier = to.Ptr(blob.AccessTier(c.Tier))
	}
	a.scope = s.scope()
	if c.Lock != "" && (archive || strings.HasPrefix(key, "meta/") || strings.HasPrefix(key, "sig/")) {
		mode := blob.ImmutabilityPolicySettingUnlocked
		if c.Lock == "locked" {
			mode = blob.ImmutabilityPolicySettingLocked
		}
		a.lock, a.until = &mode, to.Ptr(s.now().Add(c.LockFor).UTC())
	}
	return a
}

func (s *store) scope() *blob.CPKScopeInfo {
	if s.config.EncryptionScope == "" {
		return nil
	}
	return &blob.CPKScopeInfo{EncryptionScope: &s.config.EncryptionScope}
}

func (s *store) Stat(ctx context.Context, key string) (object.Object, error) {
	out, err := s.head(ctx, key)
	if err != nil {
		return object.Object{}, err
	}
	return described(key, out), nil
}

func described(key string, out blob.GetPropertiesResponse) object.Object {
	o := object.Object{Key: key, Size: value(out.ContentLength), Version: version(out.ETag), Modified: value(out.LastModified)}
	marked(&o, out.Metadata)
	return o
}

// version is an ETag as If-Match takes it: a list has it without its quotes.
func version(etag *azcore.ETag) string {
	text := string(value(etag))
	if text == "" || strings.HasPrefix(text, `"`) {
		return text
	}
	return `"` + text + `"`
}

// marked fills in what stands in the metadata. Names come back in another case.
func marked(o *object.Object, metadata map[string]*string) {
	for name, text := range metadata {
		switch strings.ToLower(name) {
		case tokenKey:
			o.Token = value(text)
		case sumKey:
			o.Summed = o.Sum.UnmarshalText([]byte(value(text))) == nil
		}
	}
}

func (s *store) head(ctx context.Context, key string) (blob.GetPropertiesResponse, error) {
	out, err := s.at(key).GetProperties(ctx, nil)
	return out, translate(err)
}

func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

func (s *store) Protected(ctx context.Context, key string) (time.Time, error) {
	out, err := s.head(ctx, key)
	if errors.Is(err, core.ErrNotFound) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, err
	}
	if value(out.LegalHold) {
		return time.Time{}, core.Errorf(core.ErrLocked, "%s is under a legal hold", key)
	}
	until := value(out.ImmutabilityPolicyExpiresOn)
	if until.After(s.now()) {
		return until, nil
	}
	return until, s.held(ctx)
}

// held answers ErrLocked for a container under a legal hold, of which its blobs say
// nothing. Who may not look at the container is told when it comes to the blob.
func (s *store) held(ctx context.Context) error {
	out, err := s.client.GetProperties(ctx, nil)
	if err = translate(err); errors.Is(err, core.ErrDenied) || errors.Is(err, core.ErrUnauthenticated) {
		return nil
	}
	if err == nil && value(out.HasLegalHold) {
		err = core.Errorf(core.ErrLocked, "the container %s is under a legal hold", s.config.Container)
	}
	return err
}

// Delete removes what depends on the blob too: its snapshots.
func (s *store) Delete(ctx context.Context, key string) error {
	_, err := s.at(key).Delete(ctx, &blob.DeleteOptions{DeleteSnapshots: to.Ptr(blob.DeleteSnapshotsOptionTypeInclude)})
	switch err = translate(err); {
	case errors.Is(err, core.ErrNotFound):
		return nil
	case errors.Is(err, core.ErrLocked):
		until, e := s.Protected(ctx, key)
		if e != nil || until.IsZero() {
			return err
		}
		return &core.Error{Kind: core.ErrLocked, Until: until, Detail: fmt.Sprintf("%s is protected until %s", key, until.UTC().Format(time.RFC3339)), Err: transport.Quiet{Cause: err}}
	}
	return err
}

func (s *store) Range(ctx context.Context, o object.Object, off, n int64) (io.ReadCloser, error) {
	out, err := s.at(o.Key).DownloadStream(ctx, &blob.DownloadStreamOptions{
		Range:            blob.HTTPRange{Offset: off, Count: n},
		AccessConditions: &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfMatch: to.Ptr(azcore.ETag(o.Version))}},
	})
	if err = translate(err); errors.Is(err, core.ErrExists) { // what 412 means elsewhere
		return nil, s.changed(ctx, o.Key, err)
	}
	if err != nil {
		return nil, err
	}
	want := fmt.Sprintf("bytes %d-%d/%d", off, off+n-1, o.Size)
	if got := value(out.ContentRange); got != want {
		_ = out.Body.Close()
		return nil, core.Errorf(core.ErrUnavailable, "asked for %q, the server sent %q", want, got)
	}
	return &transport.Body{ReadCloser: out.Body, Left: n, Translate: translate}, nil
}

// changed is why a blob is not the version that was meant: it is another by now, or
// gone.
func (s *store) changed(ctx context.Context, key string, err error) error {
	if _, gone := s.head(ctx, key); errors.Is(gone, core.ErrNotFound) {
		return gone
	}
	return core.Errorf(core.ErrChanged, "%s was replaced: %w", key, transport.Quiet{Cause: err})
}
