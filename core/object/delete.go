package object

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"time"

	"github.com/minio/crc64nvme"

	"github.com/offsite-backup/offsite/core"
)

// Delete marks the id as gone, then removes the metadata, then the archive.
func (a *Agent) Delete(ctx context.Context, id core.ID) error {
	c, err := a.begin(ctx, opDelete, id)
	if err != nil {
		return err
	}
	defer c.end()
	return c.error(c.delete())
}

func (c *call) delete() error {
	if err := c.id.Validate(); err != nil {
		return err
	}
	store := c.agent.store
	if _, err := store.Stat(c, metaKey(c.id)); err != nil {
		return err
	}
	keys, err := c.keys()
	if err != nil {
		return err
	}
	if err := c.unprotected(keys); err != nil {
		return err
	}
	if err := c.mark(); err != nil {
		return err
	}
	for _, key := range keys {
		if err := store.Delete(c, key); err != nil {
			return err
		}
	}
	return nil
}

// keys are what the backup consists of, in the order in which it goes. The metadata
// may be damaged, so the archive is found by its id.
func (c *call) keys() ([]string, error) {
	keys := []string{metaKey(c.id)}
	for o, err := range c.agent.store.List(c, dataPrefix+string(c.id), "") {
		if err != nil {
			return nil, err
		}
		if dataID(o.Key) == c.id {
			keys = append(keys, o.Key)
		}
	}
	return keys, nil
}

// unprotected answers ErrLocked where the place protects one of keys.
func (c *call) unprotected(keys []string) error {
	p, ok := c.agent.store.(Protector)
	if !ok {
		return nil
	}
	var last time.Time
	for _, key := range keys {
		until, err := p.Protected(c, key)
		if err != nil {
			return err
		}
		if until.After(last) {
			last = until
		}
	}
	if !last.After(c.agent.env.Now()) {
		return nil
	}
	return &core.Error{Kind: core.ErrLocked, Until: last, Detail: "it may be deleted from " + last.UTC().Format(time.RFC3339) + " on"}
}

// A goneMark is the content of the object gone/<id>.
type goneMark struct {
	Deleted time.Time `json:"deleted"`
}

func (c *call) mark() error {
	doc, err := json.Marshal(goneMark{c.agent.env.Now().UTC().Truncate(time.Second)})
	if err != nil {
		return err
	}
	body := io.NewSectionReader(bytes.NewReader(doc), 0, int64(len(doc)))
	_, err = c.agent.store.Put(c, goneKey(c.id), body, core.CRC64(crc64nvme.Checksum(doc)))
	if err == nil {
		return nil
	}
	// It was there, or the answer is lost and not the mark.
	if _, e := c.agent.store.Stat(c, goneKey(c.id)); e == nil {
		return c.agent.settled(c, goneKey(c.id))
	}
	return err
}
