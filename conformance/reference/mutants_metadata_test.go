package reference

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/offsite-backup/offsite/conformance"
	"github.com/offsite-backup/offsite/core"
)

func brokenMetadata() []mutant {
	return []mutant{
		{name: "drops a field", kills: "B01", also: []string{"B06"}, with: onMetadata(func(b core.Backup) core.Backup {
			b.Trigger = ""
			return b
		})},
		{name: "keeps text as latin-1", kills: "B02", with: onMetadata(func(b core.Backup) core.Backup {
			b.Name = strings.Map(func(r rune) rune {
				if r > 255 {
					return '?'
				}
				return r
			}, b.Name)
			return b
		})},
		{name: "stores text that is not UTF-8", kills: "B02", with: onUpload(func(ctx context.Context, a core.Agent, src core.Source) error {
			err := a.Upload(ctx, src)
			if d := src.Draft(); errors.Is(err, core.ErrInvalid) && strings.ToValidUTF8(d.Name, "") != d.Name {
				return nil
			}
			return err
		})},
		{name: "keys in lower case", kills: "B03", also: []string{"A06", "B02"}, with: onMetadata(func(b core.Backup) core.Backup {
			tags := core.Tags{}
			for _, k := range slices.Sorted(maps.Keys(b.Tags)) {
				tags[strings.ToLower(k)] = b.Tags[k]
			}
			if b.Tags != nil {
				b.Tags = tags
			}
			return b
		})},
		{name: "cuts values at 2 KiB", kills: "B04", with: onMetadata(func(b core.Backup) core.Backup {
			for k, v := range b.Tags {
				b.Tags[k] = v[:min(len(v), 2<<10)]
			}
			return b
		})},
		{name: "times of whole seconds", kills: "B05", with: onMetadata(func(b core.Backup) core.Backup {
			b.Created = b.Created.Truncate(time.Second)
			return b
		})},
		{name: "the time of the upload", kills: "B05", with: onMetadata(func(b core.Backup) core.Backup {
			if y := b.Created.Year(); y != 2026 {
				b.Created = time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
			}
			return b
		})},
		{name: "drops extras of large archives", kills: "B06", with: onMetadata(func(b core.Backup) core.Backup {
			if b.Size > PartSize {
				b.Extra = nil
			}
			return b
		})},
		{name: "one broken document ends the list", kills: "B07", with: onList(func(_ core.Agent, _ conformance.Raw, _ conformance.Namespace, all iter.Seq2[core.Backup, error], yield func(core.Backup, error) bool) {
			for b, err := range all {
				if !yield(b, err) || errors.Is(err, core.ErrDamaged) {
					return
				}
			}
		})},
		{name: "cannot delete what is damaged", kills: "B07", also: []string{"B08", "D02", "D03", "L03"}, with: onAgent(func(a core.Agent, _ conformance.Namespace, _ conformance.Raw) *broken {
			return &broken{delete: func(ctx context.Context, id core.ID) error {
				if _, err := a.Get(ctx, id); errors.Is(err, core.ErrDamaged) {
					return err
				}
				return a.Delete(ctx, id)
			}}
		})},
		{name: "lists archives without metadata", kills: "B08", also: []string{"C07", "C09", "C12", "N03"}, with: onList(func(_ core.Agent, raw conformance.Raw, ns conformance.Namespace, all iter.Seq2[core.Backup, error], yield func(core.Backup, error) bool) {
			if !pass(all, yield) {
				return
			}
			keys, _ := raw.List(context.Background(), ns) // memory does not fail
			have := map[core.ID]bool{}
			for _, k := range keys {
				if id, ok := idOf(k); ok {
					have[id] = true
				}
			}
			for _, k := range keys {
				if id, ok := archiveOf(k); ok && !have[id] && !yield(core.Backup{ID: id}, nil) {
					return
				}
			}
		})},
		{name: "nil becomes empty", kills: "B09", with: onMetadata(func(b core.Backup) core.Backup {
			if b.Recipients == nil && b.Tags == nil {
				b.Recipients = []string{}
			}
			return b
		})},
		{name: "deletes what is newer", kills: "N02", with: onGet(func(ctx context.Context, a core.Agent, id core.ID) (core.Backup, error) {
			b, err := a.Get(ctx, id)
			if errors.Is(err, core.ErrUnsupported) {
				err = errors.Join(err, a.Delete(ctx, id))
			}
			return b, err
		})},
		{name: "loses fields that it does not know", kills: "N02", also: []string{"B01", "B06"}, with: onMetadata(func(b core.Backup) core.Backup {
			var known core.Backup
			if text, err := json.Marshal(b); err != nil || json.Unmarshal(text, &known) != nil {
				return b
			}
			return known
		})},
		{name: "dereferences metadata that is not there", kills: "N03", with: onGet(func(ctx context.Context, a core.Agent, id core.ID) (core.Backup, error) {
			b, err := a.Get(ctx, id)
			if err == nil && b.Size > 0 {
				_ = b.Chunks.CRC64NVME[0]
			}
			return b, err
		})},
	}
}
