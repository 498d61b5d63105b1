package azure

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"iter"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/object"
)

// A multipart is the blocks of a blob that have one token. What there are, the server
// knows.
type multipart struct {
	*store
	key, token string
}

// Begin asks the server nothing: an upload begins with its first block.
func (s *store) Begin(_ context.Context, key, token string) (object.Multipart, error) {
	return &multipart{s, key, token}, nil
}

// Multiparts yields an upload for each token that blocks have which are not committed.
func (s *store) Multiparts(ctx context.Context, prefix string) iter.Seq2[object.Multipart, error] {
	return func(yield func(object.Multipart, error) bool) {
		for item, err := range s.items(ctx, prefix, container.ListBlobsInclude{Metadata: true, UncommittedBlobs: true}) {
			if err == nil && item.Properties != nil && value(item.Properties.ContentLength) > 0 {
				continue // committed
			}
			var tokens []string
			key := ""
			if err == nil {
				key = strings.TrimPrefix(value(item.Name), s.prefix)
				tokens, err = s.tokens(ctx, key)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			for _, token := range tokens {
				if !yield(&multipart{s, key, token}, nil) {
					return
				}
			}
		}
	}
}

// tokens are those of the blocks of a key, none where it is committed or gone.
func (s *store) tokens(ctx context.Context, key string) (all []string, err error) {
	blocks, err := s.blocks(ctx, key)
	seen := map[string]bool{}
	for _, b := range blocks {
		if !seen[b.token] {
			seen[b.token] = true
			all = append(all, b.token)
		}
	}
	return all, err
}

// A block is one that is not committed, by its name.
type block struct {
	token string
	object.Part
}

// blocks are those of a key that is not committed yet.
func (s *store) blocks(ctx context.Context, key string) (all []block, err error) {
	out, err := s.at(key).GetBlockList(ctx, blockblob.BlockListTypeAll, nil)
	if err = translate(err); errors.Is(err, core.ErrNotFound) {
		return nil, nil
	}
	if err != nil || len(out.CommittedBlocks) > 0 {
		return nil, err
	}
	for _, u := range out.UncommittedBlocks {
		if b, ok := parse(value(u.Name)); ok {
			b.Size = value(u.Size)
			all = append(all, b)
		}
	}
	return all, nil
}

// id is the name of a block. All of one blob have to be of one length.
func (m *multipart) id(p object.Part) string {
	return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%s-%05d-%016x", m.token, p.Index, uint64(p.CRC64)))
}

// blockName is the name of a block, before base64.
var blockName = regexp.MustCompile(`^([0-9a-z]{16})-([0-9]{5})-([0-9a-f]{16})$`)

// parse reads the name of a block, if it is one of ours.
func parse(id string) (b block, ok bool) {
	raw, err := base64.StdEncoding.DecodeString(id)
	words := blockName.FindStringSubmatch(string(raw))
	if err != nil || words == nil {
		return b, false
	}
	b.token = words[1]
	b.Index, err = strconv.Atoi(words[2])
	return b, errors.Join(err, b.CRC64.UnmarshalText([]byte(words[3]))) == nil
}

func (m *multipart) Key() string   { return m.key }
func (m *multipart) Token() string { return m.token }

// Started is not known: blocks have no time.
func (m *multipart) Started() time.Time { return time.Time{} }

func (m *multipart) Parts(ctx context.Context) (all []object.Part, err error) {
	blocks, err := m.blocks(ctx, m.key)
	for _, b := range blocks {
		if b.token == m.token {
			all = append(all, b.Part)
		}
	}
	return all, err
}

func (m *multipart) Put(ctx context.Context, p object.Part, body *io.SectionReader) error {
	m.aborted.not(m.key, m.token)
	_, err := m.at(m.key).StageBlock(ctx, m.id(p), streaming.NopCloser(body), &blockblob.StageBlockOptions{
		TransactionalValidation: blob.TransferValidationTypeCRC64(p.CRC64),
		CPKScopeInfo:            m.scope(),
	})
	return translate(err)
}

// Commit names the blocks, and with them their checksums: nothing else can be in the
// blob.
func (m *multipart) Commit(ctx context.Context, parts []object.Part) (object.Object, error) {
	var ids []string
	size, sum := int64(0), core.CRC64(0)
	for _, p := range parts {
		ids, size, sum = append(ids, m.id(p)), size+p.Size, sum.Then(p.CRC64, p.Size)
	}
	with := m.attributes(m.key)
	_, err := m.at(m.key).CommitBlockList(ctx, ids, &blockblob.CommitBlockListOptions{
		AccessConditions:             absent(),
		Metadata:                     marks(m.token, sum),
		Tier:                         with.tier,
		CPKScopeInfo:                 with.scope,
		ImmutabilityPolicyMode:       with.lock,
		ImmutabilityPolicyExpiryTime: with.until,
	})
	if err != nil {
		return object.Object{}, translate(err)
	}
	return m.stored(ctx, m.key, with)
}

// Abort removes the blocks by deleting the blob that they are of, as long as it has no
// others but those of uploads that were aborted too. What stays for another's sake goes
// with its commit, or after a week.
func (m *multipart) Abort(ctx context.Context) error {
	tokens, err := m.tokens(ctx, m.key)
	if err != nil || !m.aborted.all(m.key, m.token, tokens) {
		return err
	}
	if err := m.drop(ctx, m.key); err != nil {
		return err
	}
	for _, token := range tokens {
		m.aborted.not(m.key, token)
	}
	// Not every server that is asked to delete blocks does.
	left, err := m.tokens(ctx, m.key)
	if err == nil && slices.Contains(left, m.token) {
		err = core.Errorf(core.ErrUnsupported, "the server keeps the blocks of %s that are not committed, and removes them a week after the last came", m.key)
	}
	return err
}

// drop deletes the blocks of a blob that is not committed. One that was committed is
// newer than Azure.
func (s *store) drop(ctx context.Context, key string) error {
	before := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	_, err := s.at(key).Delete(ctx, &blob.DeleteOptions{
		AccessConditions: &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfUnmodifiedSince: &before}},
	})
	if err = translate(err); errors.Is(err, core.ErrNotFound) || errors.Is(err, core.ErrExists) {
		return nil // it was committed, or nothing is left
	}
	return err
}

// aborted are the uploads that were aborted and had to stay, by token and key.
type aborted struct {
	mu   sync.Mutex
	left map[string]bool
}

// all remembers an upload that is aborted, and says whether all that are there were:
// not none.
func (a *aborted) all(key, token string, there []string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.left == nil {
		a.left = map[string]bool{}
	}
	a.left[token+" "+key] = true
	return len(there) > 0 && !slices.ContainsFunc(there, func(token string) bool { return !a.left[token+" "+key] })
}

// not forgets an upload that goes on.
func (a *aborted) not(key, token string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.left, token+" "+key)
}
