// SPDX-License-Identifier: MPL-2.0

package messaging

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

// credentials_written is the time at which a secret last changed.
func TestCredentialsWritten(t *testing.T) {
	m := newSinchMount(t, nil)
	want := func(when, want string) {
		t.Helper()
		for _, path := range []string{"config/a", "status/a"} {
			equal(t, when+": credentials_written in "+path, m.read(path).data["credentials_written"], want)
		}
	}
	want("at first", "2026-11-22T08:00:00Z")
	m.clock.advance(time.Hour)
	m.patch("config/a", fields{"min_ttl": 5}).want(t, http.StatusNoContent)
	m.write("config/a", m.sinch(nil)).want(t, http.StatusNoContent) // the same password
	m.write("config/a", fields{"username": "bob", "verify_connection": false}).want(t, http.StatusNoContent)
	m.write("config/a", fields{"username": "acme"}).want(t, http.StatusNoContent)
	m.rotate("a").want(t, http.StatusOK)
	want("after writes of other fields", "2026-11-22T08:00:00Z")
	m.patch("config/a", fields{"password": "hunter2", "verify_connection": false}).want(t, http.StatusNoContent)
	want("after a new password", "2026-11-22T09:00:00Z")
	m.clock.advance(time.Hour)
	m.patch("config/a", fields{"password": "hunter2-wrong"}).want(t, http.StatusBadRequest)
	want("after a password that was refused", "2026-11-22T09:00:00Z")
	want("after a restart", "2026-11-22T09:00:00Z")
	m = m.restart()
	m.delete("config/a").want(t, http.StatusNoContent)
	m.write("config/a", m.sinch(nil)).want(t, http.StatusNoContent)
	want("written again", "2026-11-22T10:00:00Z")
	m.patch("config/a", fields{"credentials_written": "2030-01-01"}).want(t, http.StatusBadRequest, "credentials_written: is not a field of sinch-india")
}

func TestCredentialsWrittenWithoutSecrets(t *testing.T) {
	m := newMount(t)
	public := m.oauth2(fields{"grant_type": "password", "client_id": "public-client", "client_secret": nil, "username": "alice", "password": "wonderland"})
	m.write("config/a", public).want(t, http.StatusNoContent)
	m.clock.advance(time.Hour)
	m.patch("config/a", fields{"password": nil, "grant_type": "client_credentials", "username": nil, "verify_connection": false}).want(t, http.StatusNoContent)
	equal(t, "credentials_written after the secret was removed", m.read("config/a").data["credentials_written"], "2026-11-22T09:00:00Z")
	delete(public, "password")
	public["grant_type"], public["username"], public["verify_connection"] = "client_credentials", nil, false
	m.write("config/b", public).want(t, http.StatusNoContent)
	m.read("config/b").wantData(t, fields{"credentials_written": nil})
}

func TestCredentialsExpire(t *testing.T) {
	m := newSinchMount(t, nil)
	m.read("status/a").wantData(t, fields{"credentials_expire": nil})
	for value, problem := range map[any]string{
		"2027-03-01": "", "2027-03-01T12:00:00Z": "", "2027-03-01T12:00:00+05:30": "", "1999-01-01": "",
		"2027-02-30": "must be a date", "1.3.2027": "must be a date", "tomorrow": "must be a date", 1803902400: "must be a date", true: "must be a string", "2027-03-01 ": "must be a date",
	} {
		a := m.patch("config/a", fields{"credentials_expire": value})
		if problem != "" {
			a.want(t, http.StatusBadRequest, "credentials_expire: "+problem)
			continue
		}
		a.want(t, http.StatusNoContent)
		for _, path := range []string{"config/a", "status/a"} {
			equal(t, "credentials_expire in "+path, m.read(path).data["credentials_expire"], value)
		}
	}
	m.wantLogins(1)
}

func TestMetricsOfCredentials(t *testing.T) {
	m := newSinchMount(t, fields{"credentials_expire": "2027-03-01"})
	series := fmt.Sprintf(metricsNamespace+"_credentials_expire_timestamp_seconds{config=%q,provider=%q}", "a", "sinch-india")
	m.scrape().want(t, of("a", "sinch-india", map[string]float64{
		"credentials_expire_timestamp_seconds":  float64(time.Date(2027, 3, 1, 0, 0, 0, 0, time.UTC).Unix()),
		"credentials_written_timestamp_seconds": float64(m.clock.wall().Unix()),
	}))
	m.patch("config/a", fields{"credentials_expire": "2027-03-01T12:00:00+05:30"}).want(t, http.StatusNoContent)
	equal(t, "series with a time of another zone", m.scrape()[series], float64(time.Date(2027, 3, 1, 6, 30, 0, 0, time.UTC).Unix()))
	m.patch("config/a", fields{"credentials_expire": nil}).want(t, http.StatusNoContent)
	if got, ok := m.scrape()[series]; ok {
		t.Errorf("without credentials_expire: got %v, want no series", got)
	}
}

// New credentials with an unchanged credentials_expire cause a warning.
func TestNewCredentialsWithTheOldDate(t *testing.T) {
	m := newSinchMount(t, fields{"credentials_expire": "2027-03-01"})
	m.write("config/a", fields{"password": "new-1", "verify_connection": false}).wantWarning(t, "credentials_expire is still 2027-03-01")
	for _, data := range []fields{
		{"password": "new-2", "credentials_expire": "2028-03-01"},
		{"password": "new-3", "credentials_expire": "2028-03-01"}, // stated again: the operator means it
		{"min_ttl": 5},
		{"password": "new-3"},
		{"password": "new-4", "credentials_expire": ""},
		{"password": "new-5"},
	} {
		m.write("config/a", with(data, fields{"verify_connection": false})).want(t, http.StatusNoContent)
	}
}
