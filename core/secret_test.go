package core_test

import (
	"bytes"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/offsite-backup/offsite/core"
)

func TestSecretIsNeverPrinted(t *testing.T) {
	const word = "hunter2"
	s := core.NewSecret(word)
	type config struct {
		Password core.Secret
		hidden   core.Secret
		Pointer  *core.Secret
		List     []core.Secret
		Map      map[string]core.Secret
		Any      any
	}
	c := config{s, s, &s, []core.Secret{s}, map[string]core.Secret{"k": s}, s}
	outputs := map[string]string{}
	for _, v := range []any{s, &s, c, &c, []any{c}, fmt.Errorf("x: %v", s)} {
		for _, verb := range strings.Split("v +v #v s q x X d b o O U c t e g p T", " ") {
			outputs[fmt.Sprintf("%%%s of %T", verb, v)] = fmt.Sprintf("%"+verb, v)
		}
		doc, err := json.Marshal(v)
		outputs[fmt.Sprintf("json of %T", v)] = fmt.Sprint(string(doc), err)
		var text, logged, gobbed bytes.Buffer
		slog.New(slog.NewTextHandler(&text, nil)).Info("m", "k", v)
		slog.New(slog.NewJSONHandler(&logged, nil)).Info("m", "k", v)
		outputs[fmt.Sprintf("slog text of %T", v)] = text.String()
		outputs[fmt.Sprintf("slog JSON of %T", v)] = logged.String()
		err = gob.NewEncoder(&gobbed).Encode(v)
		outputs[fmt.Sprintf("gob of %T", v)] = gobbed.String() + fmt.Sprint(err)
	}
	inHex := hex.EncodeToString([]byte(word))
	for name, out := range outputs {
		if low := strings.ToLower(out); strings.Contains(low, word) || strings.Contains(low, inHex) || strings.Contains(out, "[104 117") {
			t.Errorf("%s: %s", name, out)
		}
	}
	for _, out := range []string{fmt.Sprint(s), fmt.Sprintf("%+v", s), fmt.Sprintf("%#v", s), s.LogValue().String()} {
		if out != "[secret]" {
			t.Errorf("printed as %q", out)
		}
	}
	if doc, _ := json.Marshal(s); string(doc) != `"[secret]"` {
		t.Errorf("marshalled as %s", doc)
	}
}

func TestSecretReveal(t *testing.T) {
	if s := core.NewSecret("hunter2"); s.Reveal() != "hunter2" || s.IsZero() {
		t.Error("the secret is lost")
	}
	for _, s := range []core.Secret{{}, core.NewSecret("")} {
		if s.Reveal() != "" || !s.IsZero() || s != (core.Secret{}) {
			t.Error("no secret is one")
		}
	}
}
