package fakegcs

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// An account is a service account.
type account struct {
	key *rsa.PublicKey
}

// skew is how far a client's clock may be from the server's.
const skew = 5 * time.Minute

// Account makes a service account, whose credentials it returns as the file that
// GOOGLE_APPLICATION_CREDENTIALS names. url is where clients reach the server.
func (s *Server) Account(url string) ([]byte, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	email := strings.ToLower(newID()) + "@fake.iam.gserviceaccount.com"
	s.mu.Lock()
	s.accounts[email] = &account{&key.PublicKey}
	s.mu.Unlock()
	return json.Marshal(map[string]string{
		"type": "service_account", "project_id": "fake", "client_email": email, "client_id": "1", "private_key_id": newID(),
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "token_uri": url + "/token",
	})
}

// External makes an identity of another issuer, whose token is in tokenFile, and
// returns its credentials as those of workload identity federation.
func (s *Server) External(url, token, tokenFile string) ([]byte, error) {
	s.mu.Lock()
	s.subjects[token] = true
	s.mu.Unlock()
	return json.Marshal(map[string]any{
		"type": "external_account", "subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "token_url": url + "/sts",
		"audience":          "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/fake/providers/fake",
		"credential_source": map[string]string{"file": tokenFile},
	})
}

// Revoke makes every token that was given out one that is over.
func (s *Server) Revoke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.tokens)
}

// authenticate looks at the token of a request.
func (q *request) authenticate() error {
	s := q.server
	s.mu.Lock()
	defer s.mu.Unlock()
	value, ok := strings.CutPrefix(q.Header.Get("Authorization"), "Bearer ")
	switch {
	case q.trusted, !ok && s.options.Anonymous:
		return nil
	case !ok:
		return &refusal{http.StatusUnauthorized, "required", "Anonymous caller does not have storage.objects.list access to the Google Cloud Storage bucket. Permission 'storage.objects.list' denied on resource (or it may not exist)."}
	case s.tokens[value].Before(s.options.Now()):
		return &refusal{http.StatusUnauthorized, "authError", "Invalid Credentials"}
	}
	return nil
}

// grant answers with a new token.
func (s *Server) grant(w http.ResponseWriter) {
	const lives = time.Hour
	token := "ya29." + newID()
	s.mu.Lock()
	s.tokens[token] = s.options.Now().Add(lives)
	s.mu.Unlock()
	writeJSON(w, http.StatusOK, map[string]any{
		"access_token": token, "token_type": "Bearer", "expires_in": int(lives / time.Second),
		"issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
	})
}

// refuseToken is an error of RFC 6749, 5.2.
func refuseToken(w http.ResponseWriter, code, description string) error {
	writeJSON(w, http.StatusBadRequest, map[string]string{"error": code, "error_description": description})
	return nil
}

// giveToken takes what a service account signed (RFC 7523).
func (q *request) giveToken(w http.ResponseWriter) error {
	if q.FormValue("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
		return refuseToken(w, "unsupported_grant_type", "Invalid grant_type: "+q.FormValue("grant_type"))
	}
	if why := q.server.verify(q.FormValue("assertion")); why != "" {
		return refuseToken(w, "invalid_grant", why)
	}
	q.server.grant(w)
	return nil
}

// verify says why an assertion is not taken.
func (s *Server) verify(assertion string) (why string) {
	parts := strings.Split(assertion, ".")
	if len(parts) != 3 {
		return "Invalid JWT."
	}
	var claims struct {
		Issuer  string `json:"iss"`
		Issued  int64  `json:"iat"`
		Expires int64  `json:"exp"`
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	signature, e := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || e != nil || json.Unmarshal(raw, &claims) != nil {
		return "Invalid JWT."
	}
	s.mu.Lock()
	of := s.accounts[claims.Issuer]
	s.mu.Unlock()
	if of == nil {
		return "Invalid grant: account not found"
	}
	hash := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if rsa.VerifyPKCS1v15(of.key, crypto.SHA256, hash[:], signature) != nil {
		return "Invalid JWT Signature."
	}
	now := s.options.Now()
	if now.Sub(time.Unix(claims.Issued, 0)).Abs() > skew || time.Unix(claims.Expires, 0).Before(now) {
		return "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim."
	}
	return ""
}

// exchangeToken takes a token of another issuer (RFC 8693).
func (q *request) exchangeToken(w http.ResponseWriter) error {
	q.server.mu.Lock()
	known := q.server.subjects[q.FormValue("subject_token")]
	q.server.mu.Unlock()
	if !known || q.FormValue("grant_type") != "urn:ietf:params:oauth:grant-type:token-exchange" {
		return refuseToken(w, "invalid_grant", fmt.Sprintf("The subject token of type %s is not taken.", q.FormValue("subject_token_type")))
	}
	q.server.grant(w)
	return nil
}
