"""What clients send -> declared values: types are checked, legacy spellings made canonical, defaults filled in, rules applied.

shapes      the JSON that is understood, as pydantic models: types only
app_form    an app or a change to one: legacy to canonical, defaults
app_rules   what an app in canonical form has to fulfil
pod_form, pod_rules, group_form     the same for pods and groups
root_rules  what all that is declared has to fulfil together
"""
