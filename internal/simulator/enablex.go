// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"net/http"
	"strconv"
)

// enablexToken serves POST /{whatsapp,rcs,sms}/v1/token. The HTTP status of a refusal is not documented: it is 200
// unless the knob failure_status says otherwise.
func (s *Simulator) enablexToken(c *call) answer {
	if c.r.Header.Get("Authorization") != "" {
		c.violate("app id and key go into the body, not into an Authorization header")
	}
	if a, bad := c.posted(jsonType); bad {
		return a
	}
	for name, value := range c.object {
		if name != "app_id" && name != "app_key" {
			c.violate("field %q is not documented", name)
		} else if _, ok := value.(string); !ok {
			c.violate("field %q is not a string", name)
		}
	}
	if c.text("app_id") == "" || c.text("app_key") == "" {
		c.violate("the body must be a JSON object with app_id and app_key")
		return c.enablexRefusal()
	}
	if r := c.authenticate(c.account, c.text("app_key")); r != accepted {
		return c.enablexRefusal()
	}
	got := c.login(c.account, "")
	body := object{"token": got.access}
	expiry := got.accessExpires.Add(c.rules.clockOffset).Unix()
	switch c.rules.expiryFormat {
	case expiryNumber:
		body["expiry"] = expiry
	case expiryString:
		body["expiry"] = strconv.FormatInt(expiry, 10)
	}
	switch c.ep.provider {
	case EnableXRCS:
		body["code"] = http.StatusOK
	case EnableXSMS:
		body["result"] = 0
	}
	return answer{status: http.StatusOK, body: body, ok: true, tokenField: "token", expiryField: "expiry"}
}

// enablexRefusal is the one refusal that each of the three APIs documents, whatever the reason.
func (c *call) enablexRefusal() answer {
	const (
		failed = "Authentication failed"
		why    = "invalid credentials or the account has been deactivated"
	)
	var body object
	switch c.ep.provider {
	case EnableXWhatsApp:
		body = object{"message": failed, "status": "Unauthorized", "reason": c.words(why)}
	case EnableXRCS:
		body = object{"code": 1003, "message": failed, "description": c.words(why)}
	case EnableXSMS:
		body = object{"result": "1", "details": failed, "desc": c.words(failed)}
	}
	return c.failure(http.StatusOK, body)
}
