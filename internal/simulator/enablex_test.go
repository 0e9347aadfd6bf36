// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"vault-plugin-secrets-messaging/internal/simulator"
)

func TestEnableXSuccess(t *testing.T) {
	for api, fields := range map[string]map[string]any{
		"whatsapp": {},
		"rcs":      {"code": 200.0},
		"sms":      {"result": 0.0},
	} {
		r := newRig(t, simulator.Options{})
		got := r.enablex(api, appID, appKey)
		fields["token"], fields["expiry"] = got.str("token"), float64(r.now.Unix()+3600)
		r.equal("status", got.status, 200)
		r.equal(api, got.json, fields)
		r.equal(api, r.introspect(got.str("token")), simulator.Introspection{
			Known: true, Active: true, Provider: "enablex-" + api, Account: appID, Kind: "access", IssuedAt: r.now,
			ExpiresIn: 3599.1, // because the expiry is in whole seconds, and the clock of the rig is at .9
		})
		r.noViolations()
	}
}

func TestEnableXRefusal(t *testing.T) {
	const detail = "invalid credentials or the account has been deactivated"
	for api, fields := range map[string]map[string]any{
		"whatsapp": {"message": "Authentication failed", "status": "Unauthorized", "reason": detail},
		"rcs":      {"code": 1003.0, "message": "Authentication failed", "description": detail},
		"sms":      {"result": "1", "details": "Authentication failed", "desc": "Authentication failed"},
	} {
		r := newRig(t, simulator.Options{})
		r.want(r.enablex(api, appID, "wrong"), 200, fields)
		r.patch(`{"failure_status": 401}`)
		r.want(r.enablex(api, "nobody", appKey), 401, fields)
		c := r.state().Providers["enablex-"+api]
		r.wantCounts(c.Counts, simulator.Counts{LoginsFailed: 2})
		r.wantCounts(c.Accounts["nobody"], simulator.Counts{LoginsFailed: 1})
	}
}

func TestEnableXClockOffset(t *testing.T) {
	r := newRig(t, simulator.Options{})
	for _, offset := range []time.Duration{24 * time.Hour, -24 * time.Hour} {
		r.patch(`{"providers": {"enablex-rcs": {"access_ttl": 60, "clock_offset": "` + offset.String() + `"}}}`)
		got := r.enablex("rcs", appID, appKey)
		now := r.now.Add(offset)
		r.want(got, 200, map[string]any{"expiry": float64(now.Unix() + 60)})
		r.equal("Date", got.header.Get("Date"), now.Format(http.TimeFormat))
		r.equal("remaining lifetime", r.introspect(got.str("token")).ExpiresIn, 59.1)
	}
}

func TestEnableXResponseSettings(t *testing.T) {
	r := newRig(t, simulator.Options{})
	r.patch(`{"expiry_format": "string", "success_status": 201}`)
	want := strconv.FormatInt(r.now.Unix()+3600, 10)
	r.want(r.enablex("rcs", appID, appKey), 201, map[string]any{"code": 200.0, "expiry": want})
	r.patch(`{"expiry_format": "absent", "success_status": null}`)
	r.want(r.enablex("rcs", appID, appKey), 200, map[string]any{"expiry": nil})
}

func TestEnableXViolations(t *testing.T) {
	for name, tt := range map[string]struct {
		method, contentType, body string
		header                    []string
		status, violations        int
	}{
		"method":       {"PUT", jsonType, `{}`, nil, 405, 1},
		"form":         {"POST", formType, "app_id=x", nil, 415, 1},
		"not JSON":     {"POST", jsonType, "{", nil, 200, 1},
		"not strings":  {"POST", jsonType, `{"app_id":1,"app_key":2}`, nil, 200, 3},
		"other fields": {"POST", jsonType, `{"app_id":"x","app_key":"y","ttl":"z"}`, nil, 200, 1},
		"basic":        {"POST", jsonType, `{"app_id":"x","app_key":"y"}`, []string{"Authorization", "Basic eDp5"}, 200, 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, simulator.Options{})
			got := r.send(tt.method, "/rcs/v1/token", tt.contentType, tt.body, tt.header...)
			r.want(got, tt.status, map[string]any{"token": nil})
			if v := r.state().Violations; len(v) != tt.violations {
				t.Errorf("%s: got violations %+v, want %d", got.request, v, tt.violations)
			}
		})
	}
}
